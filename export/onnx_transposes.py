"""tf2onnx's pass that moves transpositions (NHWC to NCHW and back) until they meet and vanish, mended.

tf2onnx 1.17 sorts the whole graph again for each constant that it reshapes, and starts again from the first node after
each transposition that it moves: a model of some thousand operations takes hours. And it leaves the shape of a square,
`Mul(x, x)`, as it was before the transposition moved past it: a transposition that is written as a reshape where sizes
of 1 allow it then reshapes to the wrong sizes.
"""

from typing import Any, final

import numpy as np
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer, invert_perm, is_transpose, is_useless_transpose


@final
class Transpositions(TransposeOptimizer):
    """What tf2onnx's pass of that name does, in time that grows with the size of the graph and not its square."""

    def pre_optimize_action(self) -> None:
        """Makes constants of reshaped ones, the kernels of depthwise convolutions above all."""
        self._output_names = [self._g.get_node_by_output(output).name for output in self._g.outputs]
        for node in list(self.nodes):
            if node.type == "Reshape" and all(source.is_const() for source in node.inputs):
                value = node.inputs[0].get_tensor_value(as_list=False)
                sizes = node.inputs[1].get_tensor_value(as_list=True)
                kept = [value.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
                self._g.remove_node(node.name)
                self._g.make_const(node.output[0], np.reshape(value, kept))  # read by that name already
        self._g.topological_sort(self._g.get_nodes())

    def _optimize_at_current_graph_level(self, graph: Any) -> Any:
        self._g = graph
        self.pre_optimize_action()
        while self._sweep():
            self.graph_been_opt = True
        self.merge_duplicated_transposes()
        self.post_optimize_action()
        return self._g

    def _sweep(self) -> bool:
        """Moves each transposition as far as it goes; returns whether any was moved."""
        moved = False
        for node in list(self.nodes):
            while is_transpose(node) and self._is_there(node) and self._handle_nhwc_tranpose(node):
                moved = True
            if self._is_there(node) and is_useless_transpose(node):
                self._remove_useless_tranpose(node)
                moved = True
        return moved

    def _is_there(self, node: Any) -> bool:
        """Nodes that a step removed are still in the list that is being gone through."""
        return self._g.get_node_by_name(node.name) is node

    def _mul_handler(self, trans: Any, node: Any) -> bool:
        shape = self._g.get_shape(node.output[0])
        squares = node.input[0] == node.input[1]
        handled = bool(super()._mul_handler(trans, node))
        if handled and squares and shape:
            self._g.set_shape(node.output[0], [shape[axis] for axis in invert_perm(trans.get_attr_value("perm"))])
            self._g.set_shape(trans.output[0], shape)
        return handled
