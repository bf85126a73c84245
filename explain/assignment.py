"""Which rule each layer of a traced model gets from a composite."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from explain.composites import Composite, WeightedLayer
from explain.errors import CompositeError
from explain.linear_map import AffineMap
from explain.propagation import above_a_map
from explain.recurrent.recording import RecurrentCall
from explain.rules import RULES, Rule
from explain.trace import Trace


def weighted_layers(trace: Trace, maps: dict[str, AffineMap]) -> dict[str, WeightedLayer]:
    """What a composite can assign a rule to, in the order of execution.

    Args:
        trace: The traced model.
        maps: Its affine maps.

    Returns:
        Layers by the name of the affine map's last operation, or of the recurrent layer's mark.
    """
    operations = {name: node.linear.op for name, node in maps.items()}
    operations |= {name: call.mark for name, call in trace.recurrent.items()}
    names = sorted(operations, key=lambda name: trace.positions[operations[name].name])
    above, below = above_a_map(trace, maps), _below_a_map(trace, maps)
    layers = {}
    for position, name in enumerate(names):
        node: AffineMap | RecurrentCall = maps.get(name) or trace.recurrent[name]
        within = trace.within(operations[name])
        reads, returns = _ends(node)
        layers[name] = WeightedLayer(
            name=node.layer,
            kind=node.kind if isinstance(node, AffineMap) else "recurrent",
            names=frozenset({node.layer, *(layer.name for layer in within)}),
            types=_types(node, within),
            position=position,
            from_end=position - len(names),
            first=id(reads) not in above,
            last=not any(id(tensor) in below for tensor in returns),
        )
    return layers


def assign(trace: Trace, maps: dict[str, AffineMap], composite: Composite) -> dict[str, Rule]:
    """The composite's rule for each layer with weights, by the names and in the order of `weighted_layers`.

    Raises:
        CompositeError: A layer gets none, or a recurrent layer one that isn't defined for the sums of a cell.
    """
    layers = weighted_layers(trace, maps)
    rules = {name: composite.rule(layer) for name, layer in layers.items()}
    for name in trace.recurrent:
        _check_recurrent(layers[name], rules[name], composite)
    return rules


def _check_recurrent(layer: WeightedLayer, rule: Rule, composite: Composite) -> None:
    if RULES[rule.name].function is not RULES["epsilon"].function:
        raise CompositeError(
            "Recurrent layers take the rule 'epsilon' (Arras et al. 2017) or a case of it, 'zero' or 'norm'. "
            f"Received: rule '{rule.name}' for layer '{layer.name}' by composite '{composite.name}'. "
            "Put an assignment of 'epsilon' to it before that."
        )


def _ends(node: AffineMap | RecurrentCall) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    """What it reads, and what it returns."""
    return (node.input, [node.output]) if isinstance(node, AffineMap) else (node.sequence, node.mark.outputs)


def _types(node: AffineMap | RecurrentCall, within: Sequence[keras.Operation]) -> frozenset[str]:
    operation = node.linear.op.type if isinstance(node, AffineMap) else node.kind
    return frozenset({operation, *(type(layer).__name__ for layer in within)})


def _below_a_map(trace: Trace, maps: dict[str, AffineMap]) -> set[int]:
    """The signals that a layer with weights is computed from."""
    nodes: list[AffineMap | RecurrentCall] = [*maps.values(), *trace.recurrent.values()]
    below = {id(_ends(node)[0]) for node in nodes}
    for op in reversed(trace.operations):
        if any(id(tensor) in below for tensor in op.outputs):
            below.update(id(tensor) for tensor in op.inputs if trace.is_signal(tensor))
    return below
