"""Weights of the members of an ensemble, from their errors on what they have not seen.

With weights that sum to 1 the error of a mean is the mean of the errors, so the mean square of the pooled error is
`wᵀ G w` with `G` the mean products of the members' errors (Bates & Granger 1969, "The combination of forecasts").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverse_error_weights", "stacked_weights"]

Floats = NDArray[np.float64]
STEPS = 20_000


def inverse_error_weights(errors: Floats, weight: Floats) -> Floats:
    """Weights by the inverse of each member's mean squared error.

    Args:
        errors: signed errors on the same rows, `(n_members, n, n_errors)`; NaN where the answer is not known.
        weight: of each row, `(n,)`.

    Returns:
        `(n_members,)`, not negative, of sum 1.
    """
    share = 1 / np.maximum(np.diag(_products(errors, weight)), 1e-300)
    return np.asarray(share / share.sum())


def stacked_weights(errors: Floats, weight: Floats) -> Floats:
    """Weights under which the pooled mean squared error is least (Breiman 1996, "Stacked regressions").

    Projected gradient descent on a convex square, with the projection of Duchi et al. 2008 on the simplex; arguments
    as for `inverse_error_weights`.
    """
    products = _products(errors, weight)
    step = 1 / max(2 * float(np.linalg.eigvalsh(products)[-1]), 1e-300)
    share = np.full(len(products), 1 / len(products))
    for _ in range(STEPS):
        moved = _on_simplex(share - step * 2 * products @ share)
        if np.abs(moved - share).max() < 1e-10:
            return moved
        share = moved
    return share


def _products(errors: Floats, weight: Floats) -> Floats:
    known = np.isfinite(errors).all(axis=0)
    mass = np.broadcast_to(weight[:, None], known.shape)[known]
    flat = errors[:, known]
    return np.asarray((flat * mass) @ flat.T / max(float(mass.sum()), 1e-300))


def _on_simplex(point: Floats) -> Floats:
    """The nearest point with no negative coordinate and sum 1 (Duchi et al. 2008, figure 1)."""
    ranked = np.sort(point)[::-1]
    excess = (np.cumsum(ranked) - 1) / np.arange(1, len(point) + 1)
    cut = excess[np.flatnonzero(ranked > excess)[-1]]
    return np.asarray(np.maximum(point - cut, 0.0))
