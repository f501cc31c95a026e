"""Auto-correlation by spectra against the diagonals and gathered sums: results and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wearcast.models.auto_correlation import AutoCorrelation
from wearcast.models.correlation_spectrum import Waves
from wearcast.models.decomposition import RealSteps, SeriesDecomposition


@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_the_matrices_are_the_real_fourier_transform_and_its_inverse(length: int) -> None:
    waves, series = Waves.of(length), torch.randn(length, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(series)
    found = waves.spectrum @ series
    torch.testing.assert_close(found, torch.cat([spectrum.real, spectrum.imag]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(waves.steps @ found, series, atol=1e-6, rtol=1e-5)


def all_of(layer: AutoCorrelation, series: Tensor, other: Tensor, steps: RealSteps | None) -> list[Tensor]:
    """What the layer says, and the gradients of its inputs and weights, those of the biases last."""
    others = None if steps is None else RealSteps.of(torch.ones(other.shape[:2], dtype=torch.bool))
    weights = dict(layer.named_parameters())
    inputs = [series] if other is series else [series, other]
    said = layer(series, other, steps, others)
    direction = torch.randn(said.shape, generator=torch.Generator().manual_seed(1))
    named = [weights[name] for name in sorted(weights, key=lambda name: (name.endswith("bias"), name))]
    return [said, *torch.autograd.grad(said, [*inputs, *named], direction)]


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize(("length", "others"), [(11, None), (12, None), (12, 7), (7, 12), (1, None), (2, 5)])
def test_a_series_without_padding_is_joined_as_by_diagonals(n_heads: int, length: int, others: int | None) -> None:
    """With all steps marked as real the layer takes the other way; both are the same function."""
    torch.manual_seed(0)
    layer = AutoCorrelation(8, n_heads, length, factor=2.0)
    series = torch.randn(5, length, 8, requires_grad=True)
    other = series if others is None else torch.randn(5, others, 8, requires_grad=True)
    every = RealSteps.of(torch.ones(5, length, dtype=torch.bool))
    for fast, plain in zip(all_of(layer, series, other, None), all_of(layer, series, other, every), strict=True):
        torch.testing.assert_close(fast, plain, atol=2e-5, rtol=1e-4)


def test_the_gradient_of_a_season_is_that_of_its_formula() -> None:
    decompose = SeriesDecomposition(9, 5)
    series = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    direction = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(1))
    formula = torch.matmul(decompose.without_average, series - series[:, -1:])
    expected = torch.autograd.grad(formula, series, direction)[0]
    found = torch.autograd.grad(decompose.season(series, None), series, direction)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
