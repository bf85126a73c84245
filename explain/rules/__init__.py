r"""The rules of LRP: how the relevance of an affine map's output is shared among its inputs.

Every rule is a sum of *branches*. A branch has terms (x_p, W_p) and a bias b_p; with z = sum_p W_p x_p + b_p,

    c_j = R_j / (z_j + epsilon * s(z_j)),        R_i = sum_p x_p,i * sum_j W_p,ij c_j.

So a rule is a few lines that name its branches (only `pass` has none). Relevance that the bias and the stabiliser
absorb, c_j b_j and c_j epsilon s(z_j), is returned beside, for the audit:
R_j = sum_i R_ij + c_j b_j + c_j epsilon s(z_j).

`bias` says what becomes of the bias: `absorb` leaves its share with it (Bach et al. 2015, eq. 56), `ignore` takes it
out of the denominator (conserves, but divides by a number that may be small where z is not), `share` spreads it and the
stabiliser's share evenly over the inputs that the output reads (Arras et al. 2017, bias factor 1; conserves).
"""

from explain.rules import alpha_beta, epsilon, first_layer, gamma, identity
from explain.rules.base import (
    BIAS_MODES,
    DEFAULT_EPSILON,
    NORM_EPSILON,
    RULES,
    Distribution,
    Parameter,
    Rule,
    Settings,
    register,
)

__all__ = [
    "BIAS_MODES",
    "DEFAULT_EPSILON",
    "NORM_EPSILON",
    "RULES",
    "Distribution",
    "Parameter",
    "Rule",
    "Settings",
    "alpha_beta",
    "epsilon",
    "first_layer",
    "gamma",
    "identity",
    "register",
]
