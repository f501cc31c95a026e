"""Temporal Fusion Transformer: the paper's function, padding, gradients, interpretation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wearcast.errors import ConfigError, ModelError
from wearcast.models.tft import InterpretableAttention, MaskedLstm, TemporalFusionTransformer
from wearcast.models.variable_selection import SLICE_NUMBERS, VariableSelection, _mixture, _SlicedMixture

CASES = {
    "state-of-now": {"n_past": 5},
    "static": {"n_past": 5, "n_static": 2},
    "complete": {"n_past": 5, "n_static": 2, "n_known_future": 3, "prediction_length": 4, "n_lstm_layers": 2},
    "horizon-only": {"n_past": 5, "prediction_length": 3},
}


class Inputs(NamedTuple):
    past: Tensor
    mask: Tensor
    static: Tensor | None
    known_future: Tensor | None


def make_model(case: str, *, dropout: float = 0.0, seed: int = 0) -> TemporalFusionTransformer:
    torch.manual_seed(seed)
    model = TemporalFusionTransformer(**CASES[case], d_model=8, n_heads=2, dropout=dropout)
    for parameter in model.parameters():  # biases and norms away from their initial zeros and ones
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def make_inputs(case: str, *, batch: int = 6, time: int = 7, padding: int = 0, seed: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    spec = CASES[case]
    mask = torch.ones(batch, time, dtype=torch.bool)
    mask[:, :padding] = False
    horizon, n_static, n_future = (spec.get(key, 0) for key in ("prediction_length", "n_static", "n_known_future"))
    return Inputs(
        torch.randn(batch, time, spec["n_past"], generator=generator),
        mask,
        torch.randn(batch, n_static, generator=generator) if n_static else None,
        torch.randn(batch, horizon, n_future, generator=generator) if n_future else None,
    )


@pytest.mark.parametrize("case", CASES)
def test_shapes_and_weights(case: str) -> None:
    """States have the promised shapes; every set of weights sums to one; attention looks at no padding."""
    model, inputs = make_model(case), make_inputs(case, padding=2)
    queries = max(model.prediction_length, 1)
    with torch.no_grad():
        result = model.explain(*inputs)
        assert model(*inputs).shape == (6, model.d_state)
        assert torch.equal(model(*inputs), result.states[:, -1])
        assert torch.equal(model.decode(*inputs), result.states)
    assert result.states.shape == (6, queries, 8)
    assert result.past_weights.shape == (6, 7, 5)
    assert result.past_weights[:, :2].abs().max() == 0
    torch.testing.assert_close(result.past_weights[:, 2:].sum(2), torch.ones(6, 5))
    assert result.attention.shape == (6, 2, queries, 7 + model.prediction_length)
    assert result.attention[..., :2].max() == 0
    torch.testing.assert_close(result.attention.sum(3), torch.ones(6, 2, queries))
    if result.static_weights is not None:
        torch.testing.assert_close(result.static_weights.sum(1), torch.ones(6))
    if result.future_weights is not None:
        torch.testing.assert_close(result.future_weights.sum(2), torch.ones(6, queries))


@pytest.mark.parametrize("case", CASES)
def test_padding_changes_nothing(case: str) -> None:
    """However long the padding on the left and whatever stands in it, the states are the same."""
    model, bare = make_model(case), make_inputs(case)
    past = torch.cat([torch.full((6, 9, 5), 1e3), bare.past], dim=1)
    mask = torch.cat([torch.zeros(6, 9, dtype=torch.bool), bare.mask], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(
            model.decode(past, mask, bare.static, bare.known_future), model.decode(*bare), rtol=1e-5, atol=1e-5
        )


def test_ragged_batch_equals_single_windows() -> None:
    """Rows of one batch with different padding do not touch each other."""
    model, inputs = make_model("complete"), make_inputs("complete")
    for row in range(6):
        inputs.mask[row, :row] = False
    with torch.no_grad():
        together = model.decode(*inputs)
        for row in range(6):
            single = (None if one is None else one[row : row + 1] for one in inputs[2:])
            alone = model.decode(inputs.past[row : row + 1, row:], inputs.mask[row : row + 1, row:], *single)
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)


def test_decoder_is_causal() -> None:
    """A known-future value acts on its own step and on later ones, never on earlier ones."""
    model, inputs = make_model("complete"), make_inputs("complete")
    assert inputs.known_future is not None
    with torch.no_grad():
        before = model.decode(*inputs)
        inputs.known_future[:, 2] += 1.0
        after = model.decode(*inputs)
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().amax(dim=(0, 2)).min() > 1e-4


def test_masked_lstm_is_the_usual_lstm() -> None:
    """Without padding it is `nn.LSTM`; with padding it starts at the first real step from the given state."""
    torch.manual_seed(0)
    ours, usual = MaskedLstm(4, 1, dropout=0.0), torch.nn.LSTM(4, 4, batch_first=True)
    usual.weight_ih_l0.data, usual.weight_hh_l0.data = ours.input_weights[0].data, ours.recurrent_weights[0].data
    usual.bias_ih_l0.data, usual.bias_hh_l0.data = ours.biases[0].data, torch.zeros(16)
    x, hidden, cell = torch.randn(3, 6, 4), torch.randn(3, 4), torch.randn(3, 4)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, :2] = False
    with torch.no_grad():
        expected, _ = usual(x, (hidden[None], cell[None]))
        torch.testing.assert_close(ours(x, None, [(hidden, cell)])[0], expected)
        expected, (_, last_cell) = usual(x[:, 2:], (hidden[None], cell[None]))
        outputs, ends = ours(x, mask, [(hidden, cell)])
    torch.testing.assert_close(outputs[:, 2:], expected)
    torch.testing.assert_close(ends[0][1], last_cell[0])


def slow_selection(network: VariableSelection, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Equations 2 to 8 one variable after another, nothing merged."""
    n, d = network.embed_weight.shape
    embedded = x.unsqueeze(3) * network.embed_weight + network.embed_bias
    flat = embedded.flatten(2)
    hidden = flat @ network.select_inner.reshape(n * d, d) + network.select_inner_bias
    if network.select_context is not None and context is not None:
        hidden = hidden + network.select_context(context)[:, None]
    gated = functional.glu(network.select_gate(network.select_outer(functional.elu(hidden))), -1)
    skip = flat @ network.select_skip.reshape(n * d, n) + network.select_skip_bias
    normed = functional.layer_norm(skip + gated, (n,), network.select_scale, network.select_shift)
    weights = torch.softmax(normed, -1)
    total = torch.zeros_like(embedded[:, :, 0])
    for j in range(n):
        eta2 = functional.elu(embedded[:, :, j] @ network.inner_weight[j] + network.inner_bias[j])
        eta1 = eta2 @ network.outer_weight[j] + network.outer_bias[j]
        value, gate = (eta1 @ network.gate_weight[j] + network.gate_bias[j]).chunk(2, -1)
        result = embedded[:, :, j] + value * torch.sigmoid(gate)
        normed = functional.layer_norm(result, (d,), network.norm_scale[j], network.norm_shift[j])
        total = total + weights[:, :, j : j + 1] * normed
    return total, weights


@pytest.mark.parametrize("has_context", [False, True])
def test_selection_is_the_papers(has_context: bool) -> None:
    """Merged, batched and sliced, selection equals the equations as written, gradients included."""
    torch.manual_seed(0)
    network = VariableSelection(3, 4, has_context=has_context)
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    x, context = torch.randn(5, 6, 3, requires_grad=True), torch.randn(5, 4) if has_context else None
    weight = torch.randn(5, 6, 4)
    ours, theirs = network(x, context), slow_selection(network, x, context)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    wanted = [x, *network.parameters()]
    for a, b in zip(
        torch.autograd.grad((ours[0] * weight).sum(), wanted),
        torch.autograd.grad((theirs[0] * weight).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("store", [True, False])
def test_slices_join_without_a_seam(store: bool) -> None:
    """Many slices and dropout give what one plain pass gives, gradients included."""
    torch.manual_seed(0)
    network, time = VariableSelection(4, 8, dropout=0.3), 50
    batch = 3 * SLICE_NUMBERS // (4 * time * 8) + 5
    x, weights = torch.randn(4, batch, time), torch.rand(4, batch, time, requires_grad=True)
    keep = torch.empty(4, batch, 1, 8).bernoulli_(0.7)
    x.requires_grad_()
    maps = network._merged()
    plain = _mixture(x, weights, keep, maps)
    sliced: Tensor = _SlicedMixture.apply(x, weights, keep, store, *maps)
    torch.testing.assert_close(plain, sliced, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(plain)
    maps_of = (network.embed_weight, network.outer_weight, network.gate_bias, network.norm_scale, network.norm_shift)
    some = (x, weights, *maps_of)
    for a, b in zip(
        torch.autograd.grad((plain * direction).sum(), some, retain_graph=True),
        torch.autograd.grad((sliced * direction).sum(), some, retain_graph=True),
        strict=True,
    ):
        assert ((a - b).abs().max() / a.abs().max()) < 1e-4


def test_selection_in_half_precision_is_nearly_the_same() -> None:
    """Slices are for full precision; what autocast makes of the whole differs by its rounding alone."""
    torch.manual_seed(0)
    network, x = VariableSelection(4, 8).eval(), torch.randn(6, 7, 4)
    with torch.no_grad():
        full = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert not torch.equal(half[0].float(), full[0])
    torch.testing.assert_close([one.float() for one in half], list(full), rtol=0.05, atol=0.05)


def test_attention_against_numpy() -> None:
    """Folded keys and late values equal equations 13 to 16 written out in NumPy."""
    torch.manual_seed(0)
    attend = InterpretableAttention(6, 3, dropout=0.0).eval()
    memory, allowed = torch.randn(2, 5, 6), torch.ones(2, 2, 5, dtype=torch.bool)
    allowed[0, :, :2] = False
    with torch.no_grad():
        pooled, weights = attend(memory[:, -2:], memory, allowed)
    m, wq, wk, wv, wo = (
        one.detach().numpy().astype(np.float64)
        for one in (memory, attend.query.weight, attend.key.weight, attend.value.weight, attend.output.weight)
    )
    heads = []
    for head in range(3):
        rows = slice(2 * head, 2 * head + 2)
        scores = (m[:, -2:] @ wq[rows].T) @ (m @ wk[rows].T).transpose(0, 2, 1) / np.sqrt(2)
        scores[~allowed.numpy()] = -np.inf
        exponent = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(exponent / exponent.sum(-1, keepdims=True))
    expected = np.mean([weight @ (m @ wv.T) for weight in heads], axis=0) @ wo.T
    np.testing.assert_allclose(weights.numpy(), np.stack(heads, 1), atol=1e-6)
    np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_and_reach_everything(case: str) -> None:
    """Every parameter learns, dropout on."""
    model, inputs = make_model(case, dropout=0.2).train(), make_inputs(case, padding=3)
    torch.autograd.backward(model.decode(*inputs).square().mean())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_deterministic_under_a_seed() -> None:
    """The same seed gives the same model and the same dropout."""
    inputs, states = make_inputs("complete"), []
    for _ in range(2):
        model = make_model("complete", dropout=0.3, seed=7).train()
        states.append(model(*inputs))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], model(*inputs))


def test_overfits_eight_windows() -> None:
    """Eight windows are learnt by heart."""
    model, inputs = make_model("static").train(), make_inputs("static", batch=8)
    head, target = torch.nn.Linear(8, 1), torch.randn(8, 1)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (head(model(*inputs)) - target).square().mean()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 1e-3


def test_wrong_use_is_refused() -> None:
    """Sizes that cannot be and covariates that are missing are named."""
    with pytest.raises(ConfigError, match="n_heads=3"):
        TemporalFusionTransformer(n_past=2, d_model=8, n_heads=3)
    past, mask, static, future = make_inputs("complete")
    with pytest.raises(ModelError, match="2 static"):
        make_model("complete")(past, mask, None, future)
    with pytest.raises(ModelError, match="3 known-future"):
        make_model("complete")(past, mask, static, None)
