"""The alpha-beta rule and z_plus, its case alpha = 1, beta = 0: positive and negative contributions apart."""

from collections.abc import Mapping

from explain.errors import CompositeError
from explain.linear_map import AffineMap
from explain.relevance import Relevance
from explain.rules.base import Distribution, Settings, register
from explain.rules.branch import Branch, bias_part, combine, distribute, negative, positive, signed_terms


@register("z_plus")
def z_plus(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j z_ij^+ / (sum_i z_ij^+ + b_j^+) R_j with z_ij^+ = max(a_i w_ij, 0).

    Commonly used for convolutions (Montavon et al. 2017, who assume a >= 0 and no bias; here as zennit's `ZPlus`, with
    negative inputs and the positive part of the bias). Conserves up to b+ and the stabiliser, and an output without any
    positive contribution loses what it holds.
    """
    return distribute(node, relevance.value(), _excitation(node, settings), settings)


def _check(numbers: Mapping[str, float]) -> None:
    alpha, beta = numbers["alpha"], numbers["beta"]
    if abs(alpha - beta - 1) > 1e-9 or alpha < 1:
        raise CompositeError(
            f"`alpha` - `beta` must be 1 and `alpha` at least 1, or relevance isn't conserved. "
            f"Received: {alpha=}, {beta=}."
        )


@register("alpha_beta", numbers={"alpha": 2.0, "beta": 1.0}, check=_check)
def alpha_beta(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j [alpha z_ij^+ / (sum z_ij^+ + b_j^+) - beta z_ij^- / (sum z_ij^- + b_j^-)] R_j.

    Bach et al. 2015, eq. 60; contributions and biases in the branch of their own sign. Conserves up to the bias and
    the stabiliser; an output without negative contributions gains (alpha - 1) of what it holds, one without positive
    ones loses alpha of it.
    """
    alpha, beta = settings.numbers["alpha"], settings.numbers["beta"]
    r = relevance.value()
    excited = distribute(node, alpha * r, _excitation(node, settings), settings)
    if beta == 0.0:
        return excited
    return combine([excited, distribute(node, -beta * r, _inhibition(node, settings), settings)])


def _excitation(node: AffineMap, settings: Settings) -> Branch:
    terms = signed_terms(node, settings, node.kernel.positive(), node.kernel.negative())
    return Branch(terms, bias_part(node, settings, positive), non_negative=True)


def _inhibition(node: AffineMap, settings: Settings) -> Branch:
    terms = signed_terms(node, settings, node.kernel.negative(), node.kernel.positive())
    return Branch(terms, bias_part(node, settings, negative))
