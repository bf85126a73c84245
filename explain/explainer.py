"""A Keras model with its relevance pass, ready to be traced into a graph."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import keras
import tensorflow as tf
from tensorflow.python.framework.func_graph import func_graph_from_py_func

from explain.assignment import assign, weighted_layers
from explain.attention import attention_layers
from explain.composites import Composite
from explain.conservation import Audit, total
from explain.constants import DerivedConstants
from explain.errors import CompositeError, OutputError
from explain.inner import layer_outputs, relevance_at
from explain.linear_map import AffineMap
from explain.named_composites import default_composite, named_composite
from explain.propagation import Walk, affine_maps
from explain.relevance import Relevance, widen
from explain.rules import DEFAULT_EPSILON
from explain.scores import explained_tensor
from explain.trace import Trace, call_by_name, input_names, output_names, trace_model

PREDICTED_CLASS = -1


@final
class Explainer:
    """Predicts and explains; its methods are called while a `tf.function` is traced and emit forward operations only.

    Args:
        model: A built Keras model.
        composite: Which rule for which layer, or a composite's name; None chooses by the model's operations.
        epsilon: Stabiliser, in the units of a layer's output; 1e-6 unless given. This and what follows down to `high`
            belongs to named composites: a `Composite` has its parameters in its rules.
        bias: `absorb` (unless given), `ignore` or `share`.
        gamma: Of the gamma rule.
        low: Smallest value of the raw input, for composites with `z_box`.
        high: Largest value of it.
        input_range: Smallest and largest value of the raw input, where they are known; they count where the composite
            is chosen by the model's operations.
        output: Name of the output to explain; may be None where there is one.
        layers: Names of layers whose outputs' relevance is returned as well.
        try_out: Whether the pass is traced once at once, so that every refusal comes here. Without, what no rule exists
            for is refused when `explain` is first traced.

    Attributes:
        inputs: `tf.TensorSpec` of each input by name, batch dimension None.
        outputs: Names of the outputs.
        explained_output: Name of the explained one.
        explained: `logit` where a final softmax or sigmoid is stepped over, `output` where the output itself is what is
            explained, as in regression.
        layer_outputs: For each of `layers` the name under which `explain` returns its relevance.
        num_targets: How many values of that output, without the batch, a target can be; None where it is dynamic.
        rules: For each layer with weights its rule and parameters, ready for JSON, in the order of execution.
        epsilon: Stabiliser of the rules, the largest where they differ.
        bias: What becomes of biases outside of any layer with weights.
        module: Holds every variable and constant that the traced functions use.

    Raises:
        ExplainError: The model can't be explained as asked; the message says what to do.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        composite: Composite | str | None = None,
        epsilon: float | None = None,
        bias: str | None = None,
        gamma: float | None = None,
        low: float | None = None,
        high: float | None = None,
        input_range: tuple[float, float] | None = None,
        output: str | None = None,
        layers: Sequence[str] = (),
        try_out: bool = True,
    ) -> None:
        self._model = model
        self._derived = DerivedConstants()
        self.inputs: dict[str, tf.TensorSpec] = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)
            for name, tensor in zip(input_names(model), model.inputs, strict=True)
        }
        self.outputs = output_names(model)
        self.explained_output = self._choose_output(output)
        self.layer_outputs = layer_outputs(layers, [f"relevance_{name}" for name in self.inputs])
        self.module = tf.Module(name="explainer")
        self.module.model = model
        self.module.constants = self._derived
        options = {"epsilon": epsilon, "bias": bias, "gamma": gamma, "low": low, "high": high}
        given = {name: value for name, value in options.items() if value is not None}
        self._input_range = input_range
        self.rules: list[dict[str, Any]] = []
        self.epsilon = given.get("epsilon", DEFAULT_EPSILON)
        self.num_targets: int | None = None
        self.explained = "output"
        self._composite = self._look(composite, given, try_out=try_out)
        self.composite = self._composite.name
        self.composite_reason = self._composite.reason or "asked for"
        self.bias = self._composite.bias

    def predict(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The model's outputs by name."""
        return call_by_name(self._model, inputs)

    def explain(self, inputs: Mapping[str, tf.Tensor], target: tf.Tensor) -> dict[str, tf.Tensor]:
        """The model's outputs and the relevance of every input element, in one pass.

        Args:
            inputs: Tensors by the inputs' names.
            target: int32 `(batch,)`, which value of the explained output to explain; -1 is the largest. An index out of
                range gives zeros: whoever serves the graph checks the range.

        Returns:
            The outputs by name; `relevance` (one input) or `relevance_<input>` (several), float32 in the input's shape;
            `target` int32, the index explained; `explained_value` float32, its score before softmax or sigmoid;
            `conservation_gap` float32, explained_value - sum of relevance; the last three `(batch,)`; for each of
            `layers`, `relevance_at_<layer>` float32 in the shape of the layer's output.
        """
        return self._explain(trace_model(self._model, inputs, self._derived), target, None)

    def audit(self, inputs: Mapping[str, tf.Tensor], target: tf.Tensor) -> dict[str, tf.Tensor]:
        """The sums that `explain.conservation.accounts` makes the accounts of the pass from, step by step."""
        audit = Audit()
        self._explain(trace_model(self._model, inputs, self._derived), target, audit)
        return audit.tensors()

    def _explain(self, trace: Trace, target: tf.Tensor, audit: Audit | None) -> dict[str, tf.Tensor]:
        maps = affine_maps(trace)
        return self._walk(trace, maps, self._composite, target, audit)

    def _walk(
        self,
        trace: Trace,
        maps: dict[str, AffineMap],
        composite: Composite,
        target: tf.Tensor,
        audit: Audit | None,
    ) -> dict[str, tf.Tensor]:
        logits = explained_tensor(trace.outputs[self.explained_output], trace)
        walk = Walk(
            trace,
            maps,
            assign(trace, maps, composite),
            composite.bias,
            composite.attention,
            audit,
            structure=composite.structure,
            stabilizer=composite.stabilizer,
        )
        scores = _per_example(widen(logits))
        predicted = tf.argmax(scores, axis=-1, output_type=tf.int32)
        index = tf.where(target == PREDICTED_CLASS, predicted, target)
        chosen = tf.one_hot(index, tf.shape(scores)[-1], dtype=scores.dtype)
        value = tf.reduce_sum(scores * chosen, axis=-1)
        seed = Relevance(logits, gradient=tf.reshape(chosen, tf.shape(logits)))
        relevance = walk.run(seed)
        gap = value - tf.add_n([tf.cast(total(r), value.dtype) for r in relevance.values()])
        named = {"relevance" if len(relevance) == 1 else f"relevance_{name}": r for name, r in relevance.items()}
        result = {name: tf.cast(r, _public(r.dtype)) for name, r in named.items()}
        extra = {"explained_value": value, "conservation_gap": gap}
        if audit is None:
            extra |= {name: relevance_at(layer, walk) for layer, name in self.layer_outputs.items()}
        result.update({name: tf.cast(tensor, _public(tensor.dtype)) for name, tensor in extra.items()})
        return {**trace.outputs, **result, "target": index}

    def _choose_output(self, output: str | None) -> str:
        if output is None:
            if len(self.outputs) > 1:
                raise OutputError(
                    f"The model has several outputs: {', '.join(self.outputs)}. "
                    "Say which one to explain (`--output NAME`)."
                )
            return self.outputs[0]
        if output not in self.outputs:
            raise OutputError(f"Expected `output` to be one of {', '.join(self.outputs)}. Received: output={output!r}.")
        return output

    def _look(self, composite: Composite | str | None, options: dict[str, Any], *, try_out: bool) -> Composite:
        """Traces the model once, and the pass if it is to be tried out; notes rules and targets."""
        chosen = []

        def look(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            trace = trace_model(self._model, inputs, self._derived)
            maps = affine_maps(trace)
            layers = weighted_layers(trace, maps)
            resolved = self._resolve(composite, options, {layer.kind for layer in layers.values()}, trace)
            resolved.check_layers(layers.values())
            chosen.append(resolved)
            rules = assign(trace, maps, resolved)
            self.epsilon = max((rule.epsilon for rule in rules.values()), default=self.epsilon)
            self.rules = [_described(layers[name].name, _operation(name, trace, maps), rules[name]) for name in rules]
            explained = trace.outputs[self.explained_output]
            logits = explained_tensor(explained, trace)
            self.explained = "output" if logits is explained else "logit"
            sizes = logits.shape.as_list()[1:]
            self.num_targets = None if None in sizes else math.prod(sizes)
            if not try_out:
                return {}
            first = next(iter(inputs.values()))
            target = tf.fill([tf.shape(first)[0]], tf.constant(PREDICTED_CLASS, tf.int32))
            return self._walk(trace, maps, resolved, target, None)

        func_graph_from_py_func("look", look, args=(self.inputs,), kwargs={})
        return chosen[0]

    def _resolve(
        self, composite: Composite | str | None, options: dict[str, Any], kinds: set[str], trace: Trace
    ) -> Composite:
        """The composite that was asked for, with the options that were given, or the model's default."""
        if isinstance(composite, str):
            return named_composite(composite, **options)
        if composite is None:
            attention = attention_layers(trace)
            return default_composite(kinds, attention=attention, input_range=self._input_range, **options)
        if options:
            raise CompositeError(
                f"A composite of one's own has its parameters in its rules, and `bias` beside them. Received: "
                f"{', '.join(f'{name}={value!r}' for name, value in options.items())} beside composite "
                f"'{composite.name}'. Write them into the composite."
            )
        return composite


def build_explainer(
    model: keras.Model,
    *,
    composite: Composite | str | None = None,
    epsilon: float | None = None,
    bias: str | None = None,
    gamma: float | None = None,
    low: float | None = None,
    high: float | None = None,
    input_range: tuple[float, float] | None = None,
    output: str | None = None,
    layers: Sequence[str] = (),
    try_out: bool = True,
) -> Explainer:
    """Makes an `Explainer`; see there for the arguments and errors."""
    return Explainer(
        model,
        composite=composite,
        epsilon=epsilon,
        bias=bias,
        gamma=gamma,
        low=low,
        high=high,
        input_range=input_range,
        output=output,
        layers=layers,
        try_out=try_out,
    )


def _per_example(scores: tf.Tensor) -> tf.Tensor:
    """`(batch, values)`."""
    return scores if scores.shape.rank == 2 else tf.reshape(scores, [tf.shape(scores)[0], -1])


def _public(dtype: tf.DType) -> tf.DType:
    """Relevance leaves as float32; a float64 model keeps its precision."""
    return dtype if dtype == tf.float64 else tf.float32


def _operation(name: str, trace: Trace, maps: dict[str, AffineMap]) -> str:
    """What a layer with weights computes: the type of its operation, or the kind of a recurrent layer."""
    return str(maps[name].linear.op.type) if name in maps else trace.recurrent[name].kind


def _described(layer: str, operation: str, rule: Any) -> dict[str, Any]:
    return {"layer": layer, "operation": operation, "rule": rule.name, "parameters": dict(rule.parameters)}
