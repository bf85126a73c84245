"""The rules of LRP for one example, in NumPy float64, from the papers' equations: z_ij = a_i w_ij is a matrix.

Relevance of an output j is shared in proportion to z_ij; what the bias and the stabiliser take is absorbed, or taken
out of the denominator (`ignore`), or spread evenly over the inputs that j reads (`share`).
"""

import numpy as np

NORM_EPSILON = 1e-6  # zennit's `Norm`, whatever the epsilon of the other rules
# Composites by kind of layer, as zennit defines them.
COMPOSITES = {
    "epsilon": {"dense": "epsilon", "convolution": "epsilon"},
    "epsilon_plus": {"dense": "epsilon", "convolution": "z_plus"},
    "epsilon_plus_flat": {"dense": "epsilon", "convolution": "z_plus"},
    "epsilon_alpha2_beta1": {"dense": "epsilon", "convolution": "alpha_beta"},
    "epsilon_alpha2_beta1_flat": {"dense": "epsilon", "convolution": "alpha_beta"},
    "epsilon_gamma_box": {"dense": "epsilon", "convolution": "gamma"},
    "attnlrp": {"dense": "epsilon", "convolution": "epsilon"},
    "cp_lrp": {"dense": "epsilon", "convolution": "epsilon"},
}
# What the weights of attention are: `gate` unless it says something else.
ATTENTION = {"attnlrp": "uniform"}
# What a first layer with weights has instead.
FIRST = {
    "epsilon_plus_flat": {"dense": "flat", "convolution": "flat"},
    "epsilon_alpha2_beta1_flat": {"dense": "flat", "convolution": "flat"},
    "epsilon_gamma_box": {"convolution": "z_box"},
}


def sign(z):
    """s(z) = 1 if z >= 0 else -1: s(0) = +1."""
    return np.where(z >= 0, 1.0, -1.0)


def epsilon(a, affine, R, *, stabilizer, bias):
    """R_i = sum_j z_ij / (z_j + epsilon s(z_j)) R_j (Bach et al. 2015, eq. 58)."""
    contributions = a[:, None] * affine.matrix
    offset = _offset(affine.bias, bias, contributions)
    z = contributions.sum(axis=0) + offset
    return _distribute(contributions, z, offset, stabilizer * sign(z), R, affine.reads, bias)


def zero(a, affine, R, *, stabilizer, bias):
    """R_i = sum_j z_ij / z_j R_j (Bach et al. 2015, eq. 56), whatever the stabiliser of other rules is."""
    del stabilizer
    return epsilon(a, affine, R, stabilizer=0.0, bias=bias)


def norm_of_layer(a, affine, R, *, stabilizer, bias):
    """zennit's `Norm` of a layer with weights: the epsilon rule with its fixed stabiliser."""
    del stabilizer
    return epsilon(a, affine, R, stabilizer=NORM_EPSILON, bias=bias)


def z_plus(a, affine, R, *, stabilizer, bias):
    """R_i = sum_j z_ij^+ / (sum_i z_ij^+ + b_j^+) R_j (Bach et al. 2015, eq. 60 with alpha 1, beta 0)."""
    contributions = np.maximum(a[:, None] * affine.matrix, 0)
    offset = np.maximum(_offset(affine.bias, bias, contributions), 0)
    z = contributions.sum(axis=0) + offset
    return _distribute(contributions, z, offset, np.full_like(z, stabilizer), R, affine.reads, bias)


def alpha_beta(a, affine, R, *, stabilizer, bias, alpha=2.0, beta=1.0):
    """alpha times the share of the positive contributions less beta times that of the negative ones (eq. 60)."""
    excited = z_plus(a, affine, alpha * R, stabilizer=stabilizer, bias=bias)
    contributions = np.minimum(a[:, None] * affine.matrix, 0)
    offset = np.minimum(_offset(affine.bias, bias, contributions), 0)
    z = contributions.sum(axis=0) + offset
    return excited + _distribute(contributions, z, offset, stabilizer * sign(z), -beta * R, affine.reads, bias)


def gamma(a, affine, R, *, stabilizer, bias, gamma=0.25):
    """What has the sign of z_j counts (1 + gamma) times, the bias too; z_j = 0 holds nothing (Andeol et al. 2021)."""
    plain = a[:, None] * affine.matrix
    z = plain.sum(axis=0) + (0 if affine.bias is None else affine.bias)
    offset = _offset(affine.bias, bias, plain)
    result = np.zeros_like(a)
    for own, part in ((z > 0, np.maximum), (z < 0, np.minimum)):
        contributions, shifted = plain + gamma * part(plain, 0), offset + gamma * part(offset, 0)
        total = contributions.sum(axis=0) + shifted
        r = np.where(own, R, 0.0)
        result += _distribute(contributions, total, shifted, stabilizer * sign(total), r, affine.reads, bias)
    return result


def flat(a, affine, R, *, stabilizer, bias):
    """R_i = sum_j R_j / |inputs that j reads|, whatever their values (Lapuschkin et al. 2019)."""
    contributions = affine.reads.astype(float)
    z = contributions.sum(axis=0)
    return _distribute(contributions, z, 0 * z, np.full_like(z, stabilizer), R, affine.reads, bias)


def w_square(a, affine, R, *, stabilizer, bias):
    """R_i = sum_j w_ij^2 / (sum_i w_ij^2 + b_j^2) R_j (Montavon et al. 2017; b^2 as zennit has it)."""
    contributions = affine.matrix**2
    offset = _offset(affine.bias, bias, contributions) ** 2
    z = contributions.sum(axis=0) + offset
    return _distribute(contributions, z, offset, np.full_like(z, stabilizer), R, affine.reads, bias)


def z_box(a, affine, R, *, stabilizer, bias, low, high):
    """R_i = sum_j (z_ij - l_i w_ij^+ - h_i w_ij^-) / sum_i (...) R_j; `low` and `high` in the units of a."""
    w = affine.matrix
    low, high = np.broadcast_to(low, a.shape), np.broadcast_to(high, a.shape)
    contributions = a[:, None] * w - low[:, None] * np.maximum(w, 0) - high[:, None] * np.minimum(w, 0)
    z = contributions.sum(axis=0)
    return _distribute(contributions, z, 0 * z, stabilizer * sign(z), R, affine.reads, bias)


def pass_on(a, affine, R, *, stabilizer, bias):
    """R as it is, where there are as many inputs as outputs."""
    del a, affine, stabilizer, bias
    return R


RULES = {
    "alpha_beta": alpha_beta,
    "epsilon": epsilon,
    "flat": flat,
    "gamma": gamma,
    "norm": norm_of_layer,
    "pass": pass_on,
    "w_square": w_square,
    "z_box": z_box,
    "z_plus": z_plus,
    "zero": zero,
}


def norm(terms, y, R):
    """The share of each summand of y: R_a = a / (y + epsilon s(y)) R with zennit's fixed epsilon."""
    return [term / (y + NORM_EPSILON * sign(y)) * R for term in terms]


def average(a, affine, R):
    """Norm for a weighted sum without parameters, as a mean is."""
    contributions = a[:, None] * affine.matrix
    z = contributions.sum(axis=0)
    return (contributions / (z + NORM_EPSILON * sign(z)) * R).sum(axis=1)


def winners(values, R):
    """Winner takes all; the largest, where there are several, share equally."""
    best = values == values.max()
    return np.where(best, R / best.sum(), 0.0)


def _offset(bias, mode, contributions):
    return np.zeros(contributions.shape[1]) if bias is None or mode == "ignore" else bias


def _distribute(contributions, z, offset, stabilizer, R, reads, mode):
    denominator = z + stabilizer
    safe = np.where(denominator == 0, 1.0, denominator)
    share = np.where(denominator == 0, 0.0, contributions / safe)
    if mode == "share":
        # 0/0 is taken as its limit for a small stabiliser: all of it is spread.
        remainder = np.where(denominator == 0, 1.0, (offset + stabilizer) / safe)
        share = share + reads / reads.sum(axis=0) * remainder
    return (share * R).sum(axis=1)
