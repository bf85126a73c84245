"""tf2onnx's optimiser passes in a form that big models can afford.

After every pass tf2onnx 1.17 writes all nodes, weights included, into protocol buffers again, and the memory of what a
message held before isn't given back while the message lives: each of some thirty passes cost one more copy of the
model. The buffers are written anyway when the model is made.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, final

from tf2onnx import optimizer

from export.onnx_transposes import Transpositions

# Which duplicate survives depends on the order of a set. `export.onnx_naming` merges constants that are the same; the
# runtime merges other nodes.
_LEFT_OUT = frozenset({"merge_duplication"})


@final
class LeanPass:
    """One pass of tf2onnx without what it does afterwards for every node.

    Args:
        factory: Makes tf2onnx's pass.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._pass = factory()

    @property
    def graph_been_opt(self) -> bool:
        """Whether the pass changed the graph."""
        return bool(self._pass.graph_been_opt)

    def optimize(self, graph: Any, iteration: int) -> Any:
        """Run the pass over the graph and the graphs in it."""
        self._pass.opt_iteration = iteration
        graph = self._pass._optimize(graph)  # noqa: SLF001 - what its `optimize` calls before it writes the buffers
        graph.delete_unused_nodes(graph.outputs)
        return graph


def lean_passes() -> dict[str, Callable[[], LeanPass]]:
    """tf2onnx's passes by name, in its order."""
    passes = optimizer._get_optimizers()  # noqa: SLF001 - the default of a public argument has no public name
    passes["optimize_transpose"] = Transpositions
    return {name: partial(LeanPass, factory) for name, factory in passes.items() if name not in _LEFT_OUT}
