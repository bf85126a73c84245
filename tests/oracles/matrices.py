"""Affine layers as explicit dense matrices: out = in @ matrix + bias on flattened signals of one example."""

from dataclasses import dataclass

import numpy as np

from tests.oracles import geometry


@dataclass
class Affine:
    """`matrix` and `reads` are `(inputs, outputs)`; `reads`: which inputs an output looks at, whatever the weight."""

    matrix: np.ndarray
    bias: np.ndarray | None
    reads: np.ndarray
    output_shape: tuple[int, ...]


def dense(input_shape, kernel, bias):
    """The same product for every row of a signal `(..., inputs)`."""
    rows, (inputs, units) = int(np.prod(input_shape[:-1])), kernel.shape
    matrix, reads = np.zeros((rows * inputs, rows * units)), np.zeros((rows * inputs, rows * units), bool)
    for row in range(rows):
        block = slice(row * inputs, (row + 1) * inputs), slice(row * units, (row + 1) * units)
        matrix[block], reads[block] = kernel, True
    return Affine(matrix, None if bias is None else np.tile(bias, rows), reads, (*input_shape[:-1], units))


def convolution(input_shape, kernel, bias, strides, padding, dilations, groups):
    """Kernel `(k1, ..., channels / groups, filters)`; the filters of group g look at the channels of group g."""
    *sizes, channels = input_shape
    *windows, per_group, filters = kernel.shape
    outputs = geometry.output_sizes(sizes, windows, strides, dilations, padding)
    shape = int(np.prod(input_shape)), int(np.prod(outputs)) * filters
    matrix, reads = np.zeros(shape), np.zeros(shape, bool)
    for q, taps in geometry.positions(sizes, windows, strides, dilations, padding):
        column = int(np.ravel_multi_index(q, outputs)) * filters
        for m, p in taps:
            row = int(np.ravel_multi_index(p, sizes)) * channels
            for group in range(groups):
                mine = slice(group * filters // groups, (group + 1) * filters // groups)
                block = (
                    slice(row + group * per_group, row + (group + 1) * per_group),
                    slice(column + mine.start, column + mine.stop),
                )
                matrix[block] = kernel[m][:, mine]
                reads[block] = True
    bias = None if bias is None else np.tile(bias, int(np.prod(outputs)))
    return Affine(matrix, bias, reads, (*outputs, filters))


def average_pooling(input_shape, windows, strides, padding):
    """1 / n for each of the n elements of a window that are not padding."""
    *sizes, channels = input_shape
    ones = (1,) * len(sizes)
    outputs = geometry.output_sizes(sizes, windows, strides, ones, padding)
    matrix = np.zeros((int(np.prod(input_shape)), int(np.prod(outputs)) * channels))
    for q, taps in geometry.positions(sizes, windows, strides, ones, padding):
        for _, p in taps:
            for channel in range(channels):
                row = np.ravel_multi_index((*p, channel), input_shape)
                matrix[row, np.ravel_multi_index((*q, channel), (*outputs, channels))] = 1 / len(taps)
    return Affine(matrix, None, matrix > 0, (*outputs, channels))
