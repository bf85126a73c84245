"""Recursions over time as ONNX operators."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from tf2onnx import utils

Operands = Mapping[str, str]


def linear_recursion(ctx: Any, results: list[str], operands: Operands, *, yields_written: bool) -> None:
    """`explain.recurrent.scan.linear_recursion`: a `Scan` from the last step to the first."""
    sequences = {name: operands[name] for name in operands if name not in {"start", "kernel"}}
    kernel = _source(ctx, operands["kernel"])

    def step(body: Any, carried: str, at: Operands) -> tuple[str, str]:
        s = _node(body, "Add", [carried, at["arrived"]]) if "arrived" in at else carried
        written = _node(body, "Mul", [at["write"], s])
        joined = [at["joined"]] if "joined" in at else []
        product = _node(body, "Gemm", [written, kernel, *joined], transB=1)
        back = _node(body, "Mul", [at["read"], product])
        if "keep" in at:
            back = _node(body, "Add", [back, _node(body, "Mul", [at["keep"], s])])
        if "spill" in at:
            last = body.make_const(utils.make_name("axis"), np.array([-1])).output[0]
            spilt = _node(body, "ReduceSum", [_node(body, "Mul", [at["spill"], s]), last], keepdims=1)
            back = _node(body, "Add", [back, spilt])
        if yields_written:
            return back, written
        return back, _node(body, "Identity", [s]) if s == carried else s

    _scan(ctx, results[0], step, operands["start"], sequences, backwards=True)


def weighted_sums(ctx: Any, results: list[str], operands: Operands) -> None:
    """`explain.recurrent.scan.weighted_sums`, in blocks of unrolled steps, and a `Scan` from block to block."""
    factors, terms, start = (operands[name] for name in ("factors", "terms", "start"))
    constant = partial(_longs, ctx)
    time = _node(ctx, "Shape", [factors], start=0, end=1)
    inner = _node(ctx, "Shape", [factors], start=1)
    missing = _node(ctx, "Mod", [_node(ctx, "Neg", [time]), constant([_BLOCK])])
    pads = _node(ctx, "Concat", [constant([0, 0, 0]), missing, constant([0, 0])], axis=0)
    shape = _node(ctx, "Concat", [constant([-1, _BLOCK]), inner], axis=0)
    at = []
    for values in (factors, terms):
        blocks = _node(ctx, "Reshape", [_node(ctx, "Pad", [values, pads]), shape])
        at.append(ctx.make_node("Split", [blocks], attr={"axis": 1, "num_outputs": _BLOCK}, output_count=_BLOCK).output)
    decays, sums = [at[0][0]], [at[1][0]]
    for factor, term in zip(at[0][1:], at[1][1:], strict=True):
        decays.append(_node(ctx, "Mul", [decays[-1], factor]))
        sums.append(_node(ctx, "Add", [_node(ctx, "Mul", [factor, sums[-1]]), term]))

    def pass_on(body: Any, carried: str, at: Operands) -> tuple[str, str]:
        c = _node(body, "Add", [_node(body, "Mul", [at["decay"], carried]), at["sum"]])
        return c, _node(body, "Identity", [carried])

    entering = utils.make_name("entering")
    last = {"decay": decays[-1], "sum": sums[-1]}  # (blocks, 1, batch, units)
    first = _node(ctx, "Unsqueeze", [start, constant([0])])
    for name in (first, *last.values()):
        ctx.set_dtype(name, ctx.get_dtype(start))
    ctx.set_shape(first, [1, *ctx.get_shape(start)])
    for name in last.values():
        ctx.set_shape(name, [-1, 1, *ctx.get_shape(start)])
    _scan(ctx, entering, pass_on, first, last)
    carried = _node(ctx, "Mul", [_node(ctx, "Concat", decays, axis=1), entering])
    filled = _node(ctx, "Add", [_node(ctx, "Concat", sums, axis=1), carried])
    whole = _node(ctx, "Reshape", [filled, _node(ctx, "Concat", [constant([-1]), inner], axis=0)])
    ctx.make_node("Slice", [whole, constant([0]), time, constant([0])], outputs=results)


def product(ctx: Any, results: list[str], operands: Operands, *, transposed: bool) -> None:
    """`explain.recurrent.scan.product`: ONNX multiplies a stack of matrices by one."""
    kernel = operands["kernel"]
    kernel = _node(ctx, "Transpose", [kernel], perm=[1, 0]) if transposed else kernel
    ctx.make_node("MatMul", [operands["x"], kernel], outputs=results)


def gru(
    ctx: Any,
    results: list[str],
    operands: Operands,
    *,
    activations: list[str],
    reset_after: bool,
    go_backwards: bool,
    whole: bool,
) -> None:
    """A layer `GRU` as the operator of that name: all its outputs in the order of processing, or the last."""
    constant = partial(_longs, ctx)
    units, columns = ctx.get_shape(operands["recurrent_kernel"])
    x = _in_order(ctx, operands["sequence"], go_backwards=go_backwards and whole)
    matrices = [
        _node(ctx, "Unsqueeze", [_node(ctx, "Transpose", [operands[name]], perm=[1, 0]), constant([0])])
        for name in ("kernel", "recurrent_kernel")
    ]
    bias = ""
    if "bias" in operands:  # ONNX has two, Keras two with `reset_after` and else one
        both = operands["bias"]
        if not reset_after:
            none = ctx.make_const(utils.make_name("no_bias"), np.zeros(columns, np.float32)).output[0]
            both = _node(ctx, "Concat", [both, none], axis=0)
        bias = _node(ctx, "Reshape", [both, constant([1, 2 * columns])])
    outputs = ctx.make_node(
        "GRU",
        [x, *matrices, bias, "", _node(ctx, "Unsqueeze", [operands["start"], constant([0])])],
        attr={
            "activations": activations,
            "direction": "reverse" if go_backwards and not whole else "forward",
            "hidden_size": units,
            "linear_before_reset": int(reset_after),
        },
        output_count=2,
    ).output
    if whole:
        steps = _node(ctx, "Squeeze", [outputs[0], constant([1])])  # (time, batch, units)
        ctx.make_node("Transpose", [steps], attr={"perm": [1, 0, 2]}, outputs=results)
    else:
        ctx.make_node("Squeeze", [outputs[1], constant([0])], outputs=results)


def simple_rnn(
    ctx: Any, results: list[str], operands: Operands, *, activations: list[str], go_backwards: bool, whole: bool
) -> None:
    """A layer `SimpleRNN` as a `Scan`: ONNX Runtime's operator `RNN` is slower by half for batches of 32."""
    x = _in_order(ctx, operands["sequence"], go_backwards=go_backwards)
    from_input = _node(ctx, "MatMul", [x, operands["kernel"]])
    if "bias" in operands:
        from_input = _node(ctx, "Add", [from_input, operands["bias"]])
    ctx.set_dtype(from_input, ctx.get_dtype(operands["start"]))
    ctx.set_shape(from_input, [-1, *ctx.get_shape(operands["start"])])

    kernel = _source(ctx, operands["recurrent_kernel"])

    def step(body: Any, carried: str, at: Operands) -> tuple[str, str]:
        z = _node(body, "Gemm", [carried, kernel, at["from_input"]])
        h = _node(body, activations[0], [z])
        return h, _node(body, "Identity", [h])

    steps = utils.make_name("steps") if whole else ""
    last = utils.make_name("last") if whole else results[0]
    _scan(ctx, steps or utils.make_name("unread"), step, operands["start"], {"from_input": from_input}, last=last)
    if whole:
        ctx.make_node("Transpose", [steps], attr={"perm": [1, 0, 2]}, outputs=results)


KINDS: Mapping[str, Callable[..., None]] = {
    "gru": gru,
    "linear_recursion": linear_recursion,
    "product": product,
    "simple_rnn": simple_rnn,
    "weighted_sums": weighted_sums,
}
_BLOCK = 10  # steps; the root of a usual length

# Takes the graph of one step, what is carried, and the sequences' values at the step; returns what is carried on, and
# what the step yields.
Step = Callable[[Any, str, Operands], tuple[str, str]]


def _scan(
    ctx: Any, result: str, step: Step, carried: str, sequences: Operands, *, backwards: bool = False, last: str = ""
) -> None:
    """A `Scan` over the first axis of sequences, with one value carried, in the end as `last`, and one yielded."""
    body = ctx.create_new_graph_with_same_config()
    body.parent_graph = ctx
    dtype = ctx.get_dtype(carried)
    names = {name: utils.make_name(name) for name in ("carried", *sequences)}
    body.add_graph_input(names["carried"], dtype, ctx.get_shape(carried))
    for name, sequence in sequences.items():
        body.add_graph_input(names[name], dtype, ctx.get_shape(sequence)[1:])
    at = {name: names[name] for name in sequences}
    for output in step(body, names["carried"], at):
        body.add_graph_output(output, dtype, ctx.get_shape(carried))
    node = ctx.make_node(
        "Scan",
        [carried, *sequences.values()],
        attr={
            "num_scan_inputs": len(sequences),
            "scan_input_directions": [int(backwards)] * len(sequences),
            "scan_output_directions": [int(backwards)],
        },
        outputs=[last or utils.make_name("last"), result],
        branches={"body": body},
    )
    ctx.set_dtype(node.output[0], dtype)
    ctx.set_shape(node.output[0], ctx.get_shape(carried))


def _node(graph: Any, kind: str, inputs: list[str], **attributes: Any) -> str:
    return str(graph.make_node(kind, inputs, attr=attributes or None).output[0])


def _longs(graph: Any, values: list[int]) -> str:
    return str(graph.make_const(utils.make_name("longs"), np.array(values, np.int64)).output[0])


def _in_order(ctx: Any, sequence: str, *, go_backwards: bool) -> str:
    """`(batch, time, ...)` with time first, in the order of processing."""
    x = _node(ctx, "Transpose", [sequence], perm=[1, 0, 2])
    if not go_backwards:
        return x
    start, end, axis, step = (_longs(ctx, [value]) for value in (-1, np.iinfo(np.int64).min, 0, -1))
    return _node(ctx, "Slice", [x, start, end, axis, step])


def _source(ctx: Any, name: str) -> str:
    """A value past identities: tf2onnx drops those, and forgets the bodies of loops that read them."""
    node = ctx.get_node_by_output(name)
    while node.type == "Identity":
        name = node.input[0]
        node = ctx.get_node_by_output(name)
    return name
