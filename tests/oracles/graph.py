"""Graph networks of one example in NumPy float64, by loops over nodes and edges, with LRP by the epsilon rule.

From the equations: R_i = sum_j z_ij / (z_j + e s(z_j)) R_j for every sum (Bach et al. 2015, eq. 56 and 58; Schnake
et al. 2021 for graphs); gates take nothing, of two signals each takes half (Achtibat et al. 2024).
"""

import numpy as np

NORM = 1e-6  # stabiliser of sums without weights


def stable(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def dense(x, kernel, bias, R, epsilon):
    """Relevance of x, `(rows, inputs)`, for R of x W + b."""
    z = x @ kernel + (0 if bias is None else bias)
    return np.stack([x[n] * (kernel @ (R[n] / stable(z[n], epsilon))) for n in range(len(x))])


def mean(h, R):
    """Relevance of the nodes for R of their mean."""
    return h / len(h) * (R / stable(h.mean(axis=0), NORM))


def head(h, kernel, bias, target, epsilon):
    """Relevance of h, `(nodes, units)`, for the score of a class from the mean of the nodes; and the score."""
    pooled = h.mean(axis=0)[None]
    z = pooled @ kernel + (0 if bias is None else bias)
    R = np.where(np.arange(z.shape[1]) == target, z, 0.0)
    return mean(h, dense(pooled, kernel, bias, R, epsilon)[0]), z[0, target]


def aggregated(A, h, bias, R, epsilon):
    """Relevance of h for R of A h + b."""
    z = A @ h + (0 if bias is None else bias)
    result = np.zeros_like(h)
    for i, j in np.ndindex(*A.shape):
        result[j] += A[i, j] * h[j] / stable(z[i], epsilon) * R[i]
    return result


def aggregated_by_half(A, h, R):
    """Relevance of A and of h for R of A h, both signals."""
    c = R / stable(A @ h, NORM)
    of_a = np.array([[A[i, j] * h[j] @ c[i] for j in range(len(h))] for i in range(len(A))])
    of_h = np.array([sum(A[i, j] * h[j] * c[i] for i in range(len(A))) for j in range(len(h))])
    return of_a / 2, of_h / 2


def summed(messages, targets, R):
    """Relevance of each edge's message for R of their sums by node."""
    z = np.zeros_like(R)
    for message, target in zip(messages, targets, strict=True):
        z[target] += message
    return np.stack([m / stable(z[t], NORM) * R[t] for m, t in zip(messages, targets, strict=True)])


def largest(messages, targets, R):
    """Relevance of each edge's message for R of the largest of them by node."""
    result = np.zeros_like(messages)
    for (edge, unit), value in np.ndenumerate(messages):
        rivals = [messages[other, unit] for other in range(len(messages)) if targets[other] == targets[edge]]
        if value == max(rivals):
            result[edge, unit] = R[targets[edge], unit] / rivals.count(value)
    return result


def collected(R, ends, nodes):
    """What each node gets of what was read from it."""
    result = np.zeros((nodes, R.shape[1]))
    for part, node in zip(R, ends, strict=True):
        result[node] += part
    return result


def edge_softmax(scores, targets):
    """exp(s_e) over the sum of those with the same target."""
    return np.array(
        [np.exp(s) / sum(np.exp(scores[o]) for o in range(len(scores)) if targets[o] == t)
         for s, t in zip(scores, targets, strict=True)]
    )  # fmt: skip


def edge_softmax_relevance(scores, targets, R):
    """R_x = x (R_s - s sum R_s), the sum over the edges with the same target (Achtibat et al. 2024, Prop. 3.1)."""
    weights = edge_softmax(scores, targets)
    total = [sum(R[o] for o in range(len(scores)) if targets[o] == t) for t in targets]
    return scores * (R - weights * np.array(total))
