"""The relevance pass: the traced operations walked backwards, each passing on the relevance of what it computed."""

from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, final

import tensorflow as tf

from explain.canonize import fold
from explain.conservation import Audit
from explain.constants import run_operation
from explain.errors import UnsupportedOperationError
from explain.linear_map import AffineMap
from explain.operations import LINEAR_MAPS, PROPAGATE, REASONS
from explain.operations.activation import ELEMENTWISE
from explain.operations.signs import is_non_negative
from explain.recurrent.propagation import propagate
from explain.relevance import Relevance, accumulate, in_dtype_of, in_full, widen
from explain.rules import NORM_EPSILON, Rule
from explain.trace import Trace


def affine_maps(trace: Trace) -> dict[str, AffineMap]:
    """The affine maps of a traced model by the name of their last operation."""
    maps = {}
    taken: set[str] = set()
    for op in trace.operations:
        if op.name in taken or trace.is_inner(op) or op.type not in LINEAR_MAPS or not trace.is_signal(op.outputs[0]):
            continue
        linear = LINEAR_MAPS[op.type](op, trace)
        if linear is not None:
            node = fold(linear, trace)
            maps[node.output.op.name] = node
            taken.update(folded.name for folded in node.operations)
    return maps


def above_a_map(trace: Trace, maps: dict[str, AffineMap]) -> set[int]:
    """The tensors that lie above a layer with weights: what isn't among them is the input, or preprocessing of it."""
    above: set[int] = set()
    inner = {op.name for node in maps.values() for op in node.operations} | trace.recurrent.keys()
    for op in trace.operations:
        if op.name in inner or any(id(tensor) in above for tensor in op.inputs):
            above.update(id(tensor) for tensor in op.outputs)
    return above


@final
@dataclass
class Walk:
    """One relevance pass over a traced model; operations send relevance to their inputs through it.

    Args:
        trace: The forward pass.
        maps: Its affine maps.
        rules: The rule of each map.
        bias: The composite's treatment of biases, for sums with constants outside of any map.
        attention: `gate` (a softmax is a gate: CP-LRP) or `uniform` (AttnLRP).
        audit: Where accounts are kept, or None.
        passed: Filled by the pass: all relevance that reached a tensor above the inputs, by the tensor's `id`.
        structure: `gate` or `share`: what the adjacency of a graph gets, see `explain.operations.gates`.
        stabilizer: Of sums, means and products without weights; None: `NORM_EPSILON`.
    """

    trace: Trace
    maps: dict[str, AffineMap]
    rules: dict[str, Rule]
    bias: str
    attention: str = "gate"
    audit: Audit | None = None
    passed: dict[int, Relevance] = field(default_factory=dict)
    structure: str = "gate"
    stabilizer: float | None = None
    _pending: dict[int, Relevance] = field(default_factory=dict)
    _above: set[int] = field(default_factory=set)
    _sent: list[Relevance] = field(default_factory=list)
    _absorbed: dict[str, tf.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._above = above_a_map(self.trace, self.maps)

    @property
    def norm_epsilon(self) -> float:
        """The stabiliser of sums, means and products without weights."""
        return NORM_EPSILON if self.stabilizer is None else self.stabilizer

    @property
    def audits(self) -> bool:
        """Accounts are kept in this pass."""
        return self.audit is not None

    def send(self, tensor: tf.Tensor, relevance: Relevance) -> None:
        """Adds relevance to a tensor; what is sent to something that no input reaches is dropped."""
        if not self.trace.is_signal(tensor):
            return
        relevance = in_dtype_of(relevance)
        self._sent.append(relevance)
        waiting = self._pending.get(id(tensor))
        self._pending[id(tensor)] = relevance if waiting is None else accumulate(waiting, relevance)

    def absorb(self, op: tf.Operation, *, bias: tf.Tensor | None = None, stabilizer: tf.Tensor | None = None) -> None:
        """Notes for the audit what an operation's bias and stabiliser absorbed."""
        del op
        if bias is not None:
            self._absorbed["absorbed_bias"] = bias
        if stabilizer is not None:
            self._absorbed["absorbed_stabilizer"] = stabilizer

    def refuse(self, op: tf.Operation, reason: str = "") -> NoReturn:
        """Ends the pass: the operation can't be explained."""
        raise UnsupportedOperationError(op.type, self.trace.layer(op), reason or REASONS.get(op.type, ""))

    def is_preprocessing(self, tensor: tf.Tensor) -> bool:
        """The tensor is an element-wise function of an input: no layer with weights lies between them.

        A token's embedding is none: what is added to it, as a position's is, takes its share of the sum.
        """
        return id(tensor) not in self._above and tensor.op.type in ELEMENTWISE and not self._reads_a_table(tensor)

    def _reads_a_table(self, tensor: tf.Tensor) -> bool:
        """Rows of a constant table, picked by an input, lie below the tensor."""
        pending, seen = [tensor], set()
        while pending:
            op = pending.pop().op
            if op.name in seen or op.name not in self.trace.positions:
                continue
            seen.add(op.name)
            if op.type in {"GatherV2", "ResourceGather"} and not self.trace.is_signal(op.inputs[0]):
                return True
            pending.extend(op.inputs)
        return False

    def is_raw(self, tensor: tf.Tensor) -> bool:
        """No layer with weights lies between the tensor and the inputs."""
        return id(tensor) not in self._above

    def sources(self, tensor: tf.Tensor) -> frozenset[str]:
        """Names of the inputs of floating numbers that the tensor's values depend on."""
        names = {id(source): name for name, source in self.trace.inputs.items() if source.dtype.is_floating}
        pending, seen, found = [tensor], set(), set()
        while pending:
            current = pending.pop()
            if id(current) in seen or not self.trace.is_signal(current):
                continue
            seen.add(id(current))
            if id(current) in names:
                found.add(names[id(current)])
            elif current.op.name in self.trace.positions:
                pending.extend(current.op.inputs)
        return frozenset(found)

    def reduce_to(self, value: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
        """Sums over the axes along which `tensor` was broadcast to the shape of `value`."""
        if value.shape.rank is None or tensor.shape.rank is None:
            raise UnsupportedOperationError(tensor.op.type, self.trace.layer(tensor.op), "Its rank is unknown.")
        extra = value.shape.rank - tensor.shape.rank
        if extra:
            value = tf.reduce_sum(value, axis=list(range(extra)))
        axes = [
            axis
            for axis, (have, want) in enumerate(zip(value.shape.as_list(), tensor.shape.as_list(), strict=True))
            if want == 1 and have != 1
        ]
        return tf.reduce_sum(value, axis=axes, keepdims=True) if axes else value

    def run(self, seed: Relevance) -> dict[str, tf.Tensor]:
        """Walks from the seed to the inputs.

        Args:
            seed: Relevance of the tensor to explain.

        Returns:
            For each input by name, its relevance in its own shape; zeros where the output doesn't depend on it.
        """
        self._pending = {id(seed.tensor): seed}
        for op in reversed(self.trace.operations):
            waiting = [self._pending.pop(id(output), None) for output in op.outputs]
            received = [None if relevance is None else in_full(relevance) for relevance in waiting]
            if any(relevance is not None for relevance in received):
                self.passed.update((id(t), r) for t, r in zip(op.outputs, received, strict=True) if r is not None)
                self._step(op, received)
        return {name: self._at_input(tensor) for name, tensor in self.trace.inputs.items()}

    def _at_input(self, tensor: tf.Tensor) -> tf.Tensor:
        arrived = self._pending.get(id(tensor))
        if arrived is None:
            return tf.zeros_like(tensor, dtype=tensor.dtype if tensor.dtype.is_floating else tf.float32)
        return arrived.value()

    def _step(self, op: tf.Operation, received: list[Relevance | None]) -> None:
        self._sent, self._absorbed = [], {}
        rule = ""
        with tf.name_scope(f"relevance/{self.trace.layer(op)}/{op.type}"):
            if op.name in self.maps:
                rule = self.rules[op.name].name
                self._apply(self.maps[op.name], self.rules[op.name], received[0])
            elif op.name in self.trace.recurrent:
                rule = self.rules[op.name].name
                propagate(self.trace.recurrent[op.name], received, self, self.rules[op.name])
            elif op.type in PROPAGATE:
                PROPAGATE[op.type](op, received, self)
            else:
                self.refuse(op)
            if self.audit is not None:
                self._account(op, rule, received)

    def _apply(self, node: AffineMap, rule: Rule, relevance: Relevance | None) -> None:
        if relevance is None:
            return
        bounds = None if id(node.input) in self._above else partial(self._bounds, node.input)
        non_negative = is_non_negative(node.input, self.trace)
        shared = rule.apply(node, relevance, non_negative=non_negative, bounds=bounds)
        self.absorb(node.linear.op, bias=shared.absorbed_bias, stabilizer=shared.absorbed_stabilizer)
        self.send(node.input, shared.relevance)

    def _bounds(self, tensor: tf.Tensor, low: float, high: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Values of a preprocessed input for a model's input of `low` everywhere and of `high` everywhere, in order."""
        ends = [widen(self._at(tensor, value)) for value in (low, high)]
        return tf.minimum(*ends), tf.maximum(*ends)

    def _at(self, tensor: tf.Tensor, value: float) -> tf.Tensor:
        if tensor.op.name not in self.trace.positions:
            is_input = any(tensor is model_input for model_input in self.trace.inputs.values())
            return tf.fill(_one_example(tensor), tf.cast(value, tensor.dtype)) if is_input else tensor
        op = tensor.op
        if not self.trace.is_signal(tensor):
            return tensor
        outputs = run_operation(op, [self._at(source, value) for source in op.inputs])
        return outputs[tensor.value_index]

    def _layer(self, op: tf.Operation) -> str:
        """The layer that the step of this operation is entered under."""
        node, call = self.maps.get(op.name), self.trace.recurrent.get(op.name)
        return node.layer if node else call.layer if call else self.trace.layer(op)

    def _account(self, op: tf.Operation, rule: str, received: list[Relevance | None]) -> None:
        if self.audit is None:
            return
        node, call = self.maps.get(op.name), self.trace.recurrent.get(op.name)
        layer = self._layer(op)
        account = {"relevance_out": [r.value() for r in received if r is not None]}
        if self._sent:
            account["relevance_in"] = [r.value() for r in self._sent]
        if within := [r.value() for r in self._sent if self._layer(r.tensor.op) == layer]:
            account["relevance_within"] = within
        account.update((what, [value]) for what, value in self._absorbed.items())
        operation = node.linear.op.type if node else call.kind if call else op.type
        self.audit.enter(layer, operation, rule, account)


def _one_example(tensor: tf.Tensor) -> list[int] | tf.Tensor:
    """The shape of one example, which stands for the whole batch; as it is where other sizes are known at run time."""
    sizes = tensor.shape.as_list()
    return [1, *sizes[1:]] if None not in sizes[1:] else tf.shape(tensor)
