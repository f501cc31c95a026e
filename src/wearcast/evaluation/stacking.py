"""Weights of the members of an ensemble, from their errors on what they have not seen.

With weights that sum to 1 the error of a mean is the mean of the errors, so the mean square of the pooled error is
`wᵀ G w` with `G` the products of the members' errors (Bates & Granger 1969, "The combination of forecasts").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require

__all__ = ["inverse_error_weights", "stacked_weights"]

Floats = NDArray[np.float64]
PULLS = (100.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.0)
"""How strongly stacked weights are pulled towards those by inverse error: with 100 they are all but the same."""
FOLDS = 10


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


def stacked_weights(errors: Floats, weight: Floats, unit: NDArray[np.integer]) -> Floats:
    """Weights under which the pooled mean squared error is least, pulled towards simpler ones as far as that helps.

    Stacking (Breiman 1996, "Stacked regressions") follows the few units that it has, whose readings err alike; weights
    that take no notice of how members err together are often better on the next ones (Smith & Wallis 2009, "A simple
    explanation of the forecast combination puzzle"). So the squares of each member's errors are counted `1 + pull`
    times: with the pull of `PULLS` under which units that are left out in turn have the least error.

    Args:
        errors, weight: see `inverse_error_weights`.
        unit: of each row, counted from 0, `(n,)`; with one unit nothing is pulled.
    """
    fold = unit % FOLDS
    parts = np.stack([_products(errors[:, fold == k], weight[fold == k]) for k in np.unique(fold)])
    products = parts.sum(axis=0)
    if len(parts) == 1:
        return _least(products, 0.0)
    left_out = [sum(_pooled(_least(products - part, pull), part) for part in parts) for pull in PULLS]
    return _least(products, PULLS[int(np.argmin(left_out))])


def _products(errors: Floats, weight: Floats) -> Floats:
    """Sums of the products of the members' errors, `(n_members, n_members)`."""
    known = np.isfinite(errors).all(axis=0)
    mass = np.broadcast_to(weight[:, None], known.shape)[known]
    flat = errors[:, known]
    return np.asarray((flat * mass) @ flat.T)


def _pooled(share: Floats, products: Floats) -> float:
    return float(share @ products @ share)


def _least(products: Floats, pull: float) -> Floats:
    """Weights `w >= 0` of sum 1 under which `wᵀ G w` is least, the diagonal of `G` counted `1 + pull` times.

    Those are the `v >= 0` under which `vᵀ G v + (Σ v - 1)²` is least, made to sum to 1: the conditions of Karush, Kuhn
    and Tucker are the same for both, up to a factor. And that is a problem of non-negative least squares.
    """
    own = np.diag(products)
    level = max(float(own.mean()), 1e-300)
    # A billionth of the level, so that members that cannot be told apart share alike.
    values, vectors = np.linalg.eigh(products / level + np.diag(pull * own / level + 1e-9))
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    found, _ = require("scipy.optimize", extra="train").nnls(
        np.vstack([root, np.ones(len(own))]), np.append(np.zeros(len(own)), 1.0)
    )
    return np.asarray(found / found.sum())
