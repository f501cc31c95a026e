"""ProbSparse self-attention, and the full attention of a decoder on its encoder.

Zhou et al. 2021, "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting", AAAI, section 3
and algorithm 1; reference code: zhouhaoyi/Informer2020. Deviations:

- The sampled keys are drawn once, at construction, and are the same for every query, as algorithm 1 has them
  (`S = Q K̄ᵀ`); the code draws others for each query and each call. So a model says the same thing twice, and the
  measure is one matrix product. The first and the last step are among them: of one key there is no measure.
- The mean of the measure is over the sampled keys, as algorithm 1 has it; the code divides their sum by the number of
  all keys.
- Windows may be padded on the left. Padded steps are no keys and count in no mean, and the sampled keys are moved
  into what is real; a padded query is active only when fewer queries are real than are to be active.
- The code mixes heads and positions behind the decoder's self-attention (`mix`), which the paper does not have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CrossAttention", "ProbSparseAttention", "n_chosen", "prob_sparse_attention", "sparsity"]


def n_chosen(length: int, factor: int) -> int:
    """How many queries are active, or keys sampled, of so many: `factor · ⌈ln length⌉`, at least 2 and at most all."""
    return min(length, max(2, factor * math.ceil(math.log(length))))


def sparsity(query: Tensor, key: Tensor, sample: Tensor, mask: Tensor | None = None) -> Tensor:
    """Measure of each query (equation 4): the largest less the mean of its scores with the sampled keys.

    Args:
        query: `(batch, heads, time, d_head)`.
        key: `(batch, heads, time, d_head)`.
        sample: how many steps before the last each sampled key is, `(n_sampled,)`; where a window is padded, in
            proportion to its real steps.
        mask: `(batch, time)`, False where padded; None if nothing is.

    Returns:
        `(batch, heads, time)`; negative infinity where padded.
    """
    length = query.shape[2]
    if mask is None:
        chosen = key.index_select(2, length - 1 - sample)
    else:
        before = sample * mask.sum(dim=1, keepdim=True) // length
        at = (length - 1 - before)[:, None, :, None].expand(-1, key.shape[1], -1, key.shape[3])
        chosen = key.gather(2, at)
    scores = torch.matmul(query, chosen.transpose(2, 3)) * query.shape[3] ** -0.5
    measure: Tensor = scores.amax(dim=3) - scores.mean(dim=3)
    return measure if mask is None else measure.masked_fill(~mask.unsqueeze(1), float("-inf"))


def prob_sparse_attention(
    query: Tensor, key: Tensor, value: Tensor, *, sample: Tensor, n_active: int, mask: Tensor | None, causal: bool
) -> Tensor:
    """Attend from the `n_active` queries of largest measure; the others get the mean of the values.

    Args:
        query: `(batch, heads, time, d_head)`.
        key: `(batch, heads, time, d_head)`.
        value: `(batch, heads, time, d_head)`.
        sample: keys that the measure is taken of, see `sparsity`.
        n_active: how many queries attend; all of them make full attention.
        mask: `(batch, time)`, False where padded; None if nothing is.
        causal: no query sees a step after its own, and a lazy one gets the sum of the values up to its own.

    Returns:
        `(batch, heads, time, d_head)`.
    """
    length = query.shape[2]
    if n_active >= length:
        allowed = _allowed(mask, torch.arange(length, device=query.device).view(1, 1, -1) if causal else None, length)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    measure = sparsity(query.detach(), key.detach(), sample, mask)
    active = measure.topk(n_active, dim=2, sorted=False).indices
    allowed = _allowed(mask, active if causal else None, length)
    index = active.unsqueeze(3).expand(-1, -1, -1, query.shape[3])
    attended = functional.scaled_dot_product_attention(query.gather(2, index), key, value, attn_mask=allowed)
    lazy = _sum_so_far(value, mask) if causal else _mean(value, mask).expand_as(value)
    return lazy.scatter(2, index, attended)


def _allowed(mask: Tensor | None, at: Tensor | None, length: int) -> Tensor | None:
    """Keys that each query may see, broadcast against `(batch, heads, queries, time)`; None for all.

    `at` are the positions of the queries, `(batch, heads, queries)`, where they see nothing later.
    """
    real = None if mask is None else mask[:, None, None]
    if at is None:
        return real
    steps = torch.arange(length, device=at.device)
    own = at.unsqueeze(3)
    # A padded query sees itself: a softmax over nothing is not a number.
    return steps <= own if real is None else ((steps <= own) & real) | (steps == own)


def _mean(value: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return value.mean(dim=2, keepdim=True)
    real = mask[:, None, :, None].to(value.dtype)
    return (value * real).sum(dim=2, keepdim=True) / real.sum(dim=2, keepdim=True)


def _sum_so_far(value: Tensor, mask: Tensor | None) -> Tensor:
    return (value if mask is None else value.masked_fill(~mask[:, None, :, None], 0.0)).cumsum(dim=2)


class ProbSparseAttention(nn.Module):
    """Multi-head ProbSparse self-attention of a sequence of one length.

    Args:
        d_model: width.
        n_heads: heads; must divide `d_model`.
        length: steps of the sequence.
        factor: the paper's `c`: how many queries are active and how many keys are sampled, see `n_chosen`.
        causal: no step sees a later one.
        seed: of the sampled keys.
    """

    sample: Tensor

    def __init__(
        self, d_model: int, n_heads: int, length: int, *, factor: int, causal: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.n_heads, self.causal = n_heads, causal
        self.n_active = n_chosen(length, factor)
        between = 1 + torch.randperm(max(length - 2, 0), generator=torch.Generator().manual_seed(seed))
        sample = torch.cat([torch.tensor([0, length - 1]), between])[: self.n_active]
        self.register_buffer("sample", sample)
        self.project = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: `(batch, time, d_model)`.
            mask: `(batch, time)`, False where padded; None if nothing is.

        Returns:
            `(batch, time, d_model)`.
        """
        query, key, value = _heads(self.project(x), 3 * self.n_heads).chunk(3, dim=1)
        pooled = prob_sparse_attention(
            query, key, value, sample=self.sample, n_active=self.n_active, mask=mask, causal=self.causal
        )
        result: Tensor = self.output(pooled.transpose(1, 2).flatten(2))
        return result


class CrossAttention(nn.Module):
    """Full multi-head attention of one sequence on another (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.memory = nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: `(batch, queries, d_model)`.
            memory: `(batch, time, d_model)`.
            mask: `(batch, time)`, False where the memory is padded; None if nothing is.

        Returns:
            `(batch, queries, d_model)`.
        """
        key, value = _heads(self.memory(memory), 2 * self.n_heads).chunk(2, dim=1)
        pooled = functional.scaled_dot_product_attention(
            _heads(self.query(x), self.n_heads), key, value, attn_mask=_allowed(mask, None, memory.shape[1])
        )
        result: Tensor = self.output(pooled.transpose(1, 2).flatten(2))
        return result


def _heads(x: Tensor, n: int) -> Tensor:
    """`(batch, time, n · d_head)` to `(batch, n, time, d_head)`."""
    return torch.unflatten(x, 2, (n, -1)).transpose(1, 2)
