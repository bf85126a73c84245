"""A network as a list of nodes, each an oracle layer and the names of what it reads: forward, and LRP backward."""

from dataclasses import dataclass

import numpy as np

from tests.oracles import rules
from tests.oracles.layers import Linear, Scale, Settings
from tests.oracles.resizing import Resizing


@dataclass
class Node:
    """One layer of a network; `inputs` are names of earlier nodes or of the network's inputs."""

    name: str
    layer: object
    inputs: tuple[str, ...]


class Network:
    """Nodes in order of execution; the last one's output is explained.

    A layer with weights that has none below it is a first one. Batch normalisation (a `Scale`) that alone reads a layer
    with weights is folded into it, and a `Scale` or `Resizing` without weights below it is preprocessing.
    """

    def __init__(self, inputs, nodes):
        self.inputs = list(inputs)
        self.nodes = _folded(list(nodes))
        _mark_preprocessing(self.nodes)

    def forward(self, inputs):
        """Every value of one example by name; `inputs` by name, without a batch."""
        values = {name: np.asarray(x, np.float64) for name, x in inputs.items()}
        for node in self.nodes:
            values[node.name] = node.layer.forward(*(values[name] for name in node.inputs))
        return values

    def predict(self, inputs):
        """The last node's output of a batch."""
        return np.stack([self.forward(example)[self.nodes[-1].name] for example in _examples(inputs)])

    def explain(self, inputs, target, *, composite="epsilon", epsilon=1e-6, bias="absorb", low=None, high=None):
        """Relevance of each input of a batch; `target` is one flat index for each example, -1 for the largest."""
        first, attention = rules.FIRST.get(composite, {}), rules.ATTENTION.get(composite, "gate")
        settings = Settings(rules.COMPOSITES[composite], epsilon, bias, first, attention)
        if low is not None:
            self._set_bounds(next(_examples(inputs)), low, high)
        each = [self._explain(x, t, settings) for x, t in zip(_examples(inputs), target, strict=True)]
        return {name: np.stack([relevance[name] for relevance in each]) for name in self.inputs}

    def _set_bounds(self, example, low, high):
        """What first layers read of inputs of `low`, and of `high`, everywhere."""
        ends = [self.forward({name: np.full_like(x, end) for name, x in example.items()}) for end in (low, high)]
        for node in self.nodes:
            if isinstance(node.layer, Linear) and node.layer.is_first:
                read = [values[node.inputs[0]] for values in ends]
                node.layer.bounds = np.minimum(*read), np.maximum(*read)

    def _explain(self, inputs, target, settings):
        values = self.forward(inputs)
        scores = values[self.nodes[-1].name]
        index = np.argmax(scores) if target == -1 else target
        seed = np.where(np.arange(scores.size).reshape(scores.shape) == index, scores, 0.0)
        relevance = {name: np.zeros_like(value) for name, value in values.items()}
        relevance[self.nodes[-1].name] = seed
        for node in reversed(self.nodes):
            read = [values[name] for name in node.inputs]
            shares = node.layer.backward(relevance[node.name], read, values[node.name], settings)
            for name, share in zip(node.inputs, shares, strict=True):
                relevance[name] = relevance[name] + share
        return relevance


def _examples(inputs):
    for index in range(len(next(iter(inputs.values())))):
        yield {name: x[index] for name, x in inputs.items()}


def _folded(nodes):
    kept = []
    for node in nodes:
        below = next((other for other in kept if node.inputs == (other.name,)), None)
        readers = [other for other in nodes if below is not None and below.name in other.inputs]
        if (
            isinstance(node.layer, Scale)
            and below is not None
            and isinstance(below.layer, Linear)
            and readers == [node]
        ):
            below.layer.scaled(node.layer.scale, node.layer.shift)
            below.name = node.name
        else:
            kept.append(node)
    return kept


def _mark_preprocessing(nodes):
    weighted = set()
    for node in nodes:
        if isinstance(node.layer, Linear) and not weighted & set(node.inputs):
            node.layer.is_first = True
        if isinstance(node.layer, Linear) or weighted & set(node.inputs):
            weighted.add(node.name)
        elif isinstance(node.layer, Scale | Resizing):
            node.layer.preprocessing = True
