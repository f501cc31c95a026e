"""Informer: ProbSparse attention against plain loops, distilling, padding, the decoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from wearcast.errors import ModelError
from wearcast.models.embedding import CircularConvolution, SequenceEmbedding, sinusoids
from wearcast.models.informer import Distilling, InformerBackbone
from wearcast.models.prob_sparse import ProbSparseAttention, n_chosen, prob_sparse_attention, sparsity
from wearcast.models.spec import Informer, Inputs

BATCH, HEADS, STEPS, WIDTH = 3, 2, 11, 4
PADDING = (0, 4, STEPS - 1)
SAMPLE = torch.tensor([0, STEPS - 1, 3, 7])

Floats = NDArray[np.float64]


def make_heads(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, values and the mask of windows of which some are padded."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(BATCH, HEADS, STEPS, WIDTH, generator=generator) for _ in range(3))
    mask = torch.arange(STEPS) >= torch.tensor(PADDING).unsqueeze(1)
    return query, key, value, mask


def sampled(padding: int) -> list[int]:
    """Positions of the sampled keys of a window: those of a whole one, drawn together over its real steps."""
    return [STEPS - 1 - int(before) * (STEPS - padding) // STEPS for before in SAMPLE]


def slow_measure(query: Floats, key: Floats, padding: int) -> Floats:
    """Algorithm 1, lines 3 and 4, query by query."""
    measure = np.full(STEPS, -np.inf)
    for i in range(padding, STEPS):
        scores = [float(query[i] @ key[j]) / math.sqrt(WIDTH) for j in sampled(padding)]
        measure[i] = max(scores) - sum(scores) / len(scores)
    return measure


def slow_attention(
    query: Floats, key: Floats, value: Floats, *, padding: int, n_active: int, causal: bool
) -> dict[int, Floats]:
    """Algorithm 1 in loops: what each real query of one head gets."""
    measure = slow_measure(query, key, padding)
    chosen = sorted(range(STEPS), key=lambda i: -measure[i])[:n_active]
    result: dict[int, Floats] = {}
    for i in range(padding, STEPS):
        seen = range(padding, i + 1 if causal else STEPS)
        if i in chosen:
            weights = np.array([math.exp(float(query[i] @ key[j]) / math.sqrt(WIDTH)) for j in seen])
            result[i] = sum(w * value[j] for w, j in zip(weights / weights.sum(), seen, strict=True))
        else:
            total = np.sum([value[j] for j in seen], axis=0)
            result[i] = total if causal else total / len(seen)
    return result


def test_the_measure_is_that_of_plain_loops() -> None:
    """Equation 4 on sampled keys, of whole and of padded windows; a padded query has none."""
    query, key, _, mask = make_heads()
    found = sparsity(query, key, SAMPLE, mask).numpy()
    for b, padding in enumerate(PADDING):
        for h in range(HEADS):
            expected = slow_measure(query[b, h].double().numpy(), key[b, h].double().numpy(), padding)
            np.testing.assert_allclose(found[b, h], expected, rtol=1e-4, atol=1e-6)
    whole = sparsity(query, key, SAMPLE)
    torch.testing.assert_close(whole[0], sparsity(query, key, SAMPLE, mask)[0])


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("n_active", [1, 4, STEPS - 1])
def test_attention_is_that_of_plain_loops(n_active: int, causal: bool) -> None:
    """The choice, the active queries, and what the lazy ones get, at each real step."""
    query, key, value, mask = make_heads(seed=n_active)
    found = prob_sparse_attention(query, key, value, sample=SAMPLE, n_active=n_active, mask=mask, causal=causal)
    assert torch.isfinite(found).all()
    for b, padding in enumerate(PADDING):
        for h in range(HEADS):
            one = (part[b, h].double().numpy() for part in (query, key, value))
            expected = slow_attention(*one, padding=padding, n_active=n_active, causal=causal)
            for step, row in expected.items():
                np.testing.assert_allclose(found[b, h, step].numpy(), row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_with_every_query_active_it_is_full_attention(causal: bool) -> None:
    """By the short cut, and by the sparse path with all queries but the one that would choose itself last."""
    query, key, value, _ = make_heads()
    full = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    short = prob_sparse_attention(query, key, value, sample=SAMPLE, n_active=STEPS, mask=None, causal=causal)
    torch.testing.assert_close(short, full)
    sparse = prob_sparse_attention(query, key, value, sample=SAMPLE, n_active=STEPS - 1, mask=None, causal=causal)
    same = torch.isclose(sparse, full, atol=1e-5).all(dim=3)
    assert (same.sum(dim=2) >= STEPS - 1).all()


def test_a_window_with_few_real_steps_has_all_of_them_active() -> None:
    """Padded queries are chosen only when no real one is left."""
    query, key, value, mask = make_heads()
    found = prob_sparse_attention(query, key, value, sample=SAMPLE, n_active=7, mask=mask, causal=False)
    full = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
    torch.testing.assert_close(found[1, :, 4:], full[1, :, 4:])


def test_queries_and_keys_grow_with_the_logarithm() -> None:
    """`factor · ⌈ln length⌉`: 25 of 96; never more than there are, never fewer than two."""
    assert [n_chosen(length, 5) for length in (1, 2, 3, 96, 1000)] == [1, 2, 3, 25, 35]
    assert n_chosen(3, 1) == 2


@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_the_sampled_keys_are_fixed_and_hold_both_ends(length: int) -> None:
    """Another layer samples others; the same one the same ones."""
    first, again, other = (ProbSparseAttention(4, 2, length, factor=1, seed=seed).sample.tolist() for seed in (0, 0, 1))
    assert first == again
    assert {0, length - 1} <= set(first)
    assert len(set(first)) == n_chosen(length, 1)
    assert length < 40 or first != other


def test_distilling_halves_and_pools_what_is_real() -> None:
    """Equation 5 with loops over the pooled steps; the convolution joins the ends of the window."""
    torch.manual_seed(0)
    distil = Distilling(4)
    x = torch.randn(2, 7, 4)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, :4] = False
    found, halved = distil(x, mask)
    assert found.shape == (2, 4, 4)
    assert halved.tolist() == [[True] * 4, [False, False, True, True]]
    kernel = distil.convolve.neighbours.weight.unflatten(1, (3, 4)).permute(0, 2, 1)
    clean = x.masked_fill(~mask.unsqueeze(2), 0.0).transpose(1, 2)
    convolved = functional.conv1d(
        functional.pad(clean, (1, 1), mode="circular"), kernel, distil.convolve.neighbours.bias
    )
    steps = functional.elu(distil.norm(convolved.transpose(1, 2)))
    for b in range(2):
        for centre in range(0, 7, 2):
            near = [i for i in (centre - 1, centre, centre + 1) if 0 <= i < 7 and mask[b, i]]
            if near:
                torch.testing.assert_close(found[b, centre // 2], steps[b, near].amax(dim=0))
    torch.testing.assert_close(distil(x[:1], None)[0], found[:1])


def test_an_embedding_adds_values_position_marks_and_statics() -> None:
    """Marks belong to the last steps."""
    torch.manual_seed(0)
    embed = SequenceEmbedding(3, 6, n_marks=2, n_static=1, length=5)
    values, marks, static = torch.randn(2, 5, 3), torch.randn(2, 2, 2), torch.randn(2, 1)
    found = embed(values, marks, static)
    assert embed.marks is not None
    assert embed.static is not None
    without_marks = embed.values(values) + sinusoids(5, 6) + embed.static(static).unsqueeze(1)
    torch.testing.assert_close(found[:, :3], without_marks[:, :3])
    torch.testing.assert_close(found[:, 3:], without_marks[:, 3:] + embed.marks(marks))


def test_the_convolution_is_circular() -> None:
    """Numeric equality with a convolution whose padding is circular."""
    torch.manual_seed(0)
    convolve = CircularConvolution(3, 4)
    x = torch.randn(2, 6, 3)
    kernel = convolve.neighbours.weight.unflatten(1, (3, 3)).permute(0, 2, 1)
    expected = functional.conv1d(functional.pad(x.transpose(1, 2), (1, 1), mode="circular"), kernel)
    torch.testing.assert_close(convolve(x), expected.transpose(1, 2))


def make_backbone(*, centred: bool = False) -> InformerBackbone:
    """A small one with a horizon, statics and known-future columns, away from its initial zeros and ones."""
    torch.manual_seed(0)
    inputs = Inputs(n_past=4, n_static=2, n_known_future=1, prediction_length=6, context_length=14)
    spec = Informer(
        d_model=8, n_heads=2, n_encoder_layers=3, n_decoder_layers=2, d_feed_forward=12, factor=1, centred=centred
    )
    backbone = InformerBackbone(spec, inputs)
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return backbone.eval()


def test_the_decoder_reads_the_horizon_and_its_marks() -> None:
    """A state a step; a change of one step's marks reaches the decoder's states."""
    backbone = make_backbone()
    past, mask, static = torch.randn(3, 14, 4), torch.ones(3, 14, dtype=torch.bool), torch.randn(3, 2)
    known = torch.randn(3, 6, 1)
    states = backbone.decode(past, mask, static, known)
    assert states.shape == (3, 6, 8)
    assert backbone.decodes
    torch.testing.assert_close(backbone(past, mask, static, known), states[:, -1])
    other = known.clone()
    other[:, 2] += 1
    assert not torch.allclose(backbone.decode(past, mask, static, other)[:, 2], states[:, 2])
    with pytest.raises(ModelError, match="1 known-future variables"):
        backbone(past, mask, static)
    with pytest.raises(ModelError, match="2 static variables"):
        backbone(past, mask, None, known)


def test_padded_windows_in_a_batch_change_no_whole_window() -> None:
    """The path without a mask and the path with one say the same."""
    backbone = make_backbone()
    past, mask, static = torch.randn(3, 14, 4), torch.ones(3, 14, dtype=torch.bool), torch.randn(3, 2)
    known = torch.randn(3, 6, 1)
    whole = backbone.decode(past, mask, static, known)
    mask[2, :9] = False
    mixed = backbone.decode(past, mask, static, known)
    torch.testing.assert_close(mixed[:2], whole[:2], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(mixed[2], whole[2])


def test_a_centred_network_hands_the_level_on_and_reads_the_rest() -> None:
    """Another level of the real steps moves the last numbers of the state by as much, and nothing else."""
    backbone = make_backbone(centred=True)
    past, mask = torch.randn(3, 14, 4), torch.ones(3, 14, dtype=torch.bool)
    mask[2, :9] = False
    static, known = torch.randn(3, 2), torch.randn(3, 6, 1)
    first, higher = (backbone.decode(past + level, mask, static, known) for level in (0.0, 2.5))
    assert first.shape == (3, 6, 8 + 4)
    torch.testing.assert_close(higher[:, :, :8], first[:, :, :8], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(higher[:, :, 8:], first[:, :, 8:] + 2.5)
    torch.testing.assert_close(first[2, 0, 8:], past[2, 9:].mean(dim=0))


def test_heads_that_do_not_divide_are_refused() -> None:
    """On reading the configuration, with both numbers."""
    with pytest.raises(ValidationError, match="d_model 10 cannot be divided among n_heads 4"):
        Informer(d_model=10, n_heads=4)
