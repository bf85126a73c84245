"""Where sliding windows lie, one output position at a time, by TensorFlow's definition of SAME and VALID."""

import itertools


def paddings(sizes, windows, strides, dilations, padding):
    """(before, after) for each dimension: SAME gives ceil(n / s) windows and puts the odd element after."""
    result = []
    for axis, (size, window, stride, dilation) in enumerate(zip(sizes, windows, strides, dilations, strict=True)):
        extent = dilation * (window - 1) + 1
        if padding == "valid":
            result.append((0, 0))
        elif padding == "same":
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            result.append((total // 2, total - total // 2))
        else:
            result.append(tuple(padding[axis]))
    return result


def output_sizes(sizes, windows, strides, dilations, padding):
    """Number of windows along each dimension: floor((n + before + after - extent) / s) + 1."""
    pads = paddings(sizes, windows, strides, dilations, padding)
    return tuple(
        (size + before + after - dilation * (window - 1) - 1) // stride + 1
        for size, window, stride, dilation, (before, after) in zip(
            sizes, windows, strides, dilations, pads, strict=True
        )
    )


def positions(sizes, windows, strides, dilations, padding):
    """For each window its place q in the output, and (offset m, place p) of each element that is no padding."""
    pads = paddings(sizes, windows, strides, dilations, padding)
    for q in itertools.product(*map(range, output_sizes(sizes, windows, strides, dilations, padding))):
        taps = []
        for m in itertools.product(*map(range, windows)):
            p = tuple(
                i * stride + offset * dilation - before
                for i, offset, stride, dilation, (before, _) in zip(q, m, strides, dilations, pads, strict=True)
            )
            if all(0 <= place < size for place, size in zip(p, sizes, strict=True)):
                taps.append((m, p))
        yield q, taps
