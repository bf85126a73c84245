"""Forward passes in NumPy, float64, that share no code with Keras."""

import numpy as np


def dense(x, kernel, bias):
    return x @ kernel + bias


def relu(x):
    return np.maximum(x, 0.0)


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def convolution_same(x, kernel, bias):
    """Stride 1, zeros around: out[y, x] = sum over the window of in * kernel + bias."""
    batch, height, width, _ = x.shape
    rows, columns, _, channels = kernel.shape
    padded = np.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    out = np.zeros((batch, height, width, channels))
    for row in range(height):
        for column in range(width):
            window = padded[:, row : row + rows, column : column + columns, :]
            out[:, row, column, :] = np.tensordot(window, kernel, axes=3) + bias
    return out


def max_pooling_same(x):
    """Windows of 2x2, stride 2; a last odd row or column is a window of its own."""
    batch, height, width, channels = x.shape
    out = np.empty((batch, -(-height // 2), -(-width // 2), channels))
    for row in range(out.shape[1]):
        for column in range(out.shape[2]):
            out[:, row, column] = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(1, 2))
    return out


def batch_normalization(x, weights, epsilon):
    gamma, beta, mean, variance = weights
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta
