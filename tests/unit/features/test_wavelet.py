"""Wavelet-packet energies: Parseval, the order of the bands, and the tree of PyWavelets."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wearcast.errors import FleetError, MissingExtraError, UsageError
from wearcast.features.wavelet import wavelet_packet_energies, wavelet_packet_names

pywt = pytest.importorskip("pywt")


@given(arrays(np.float64, (2, 64), elements=st.floats(-10, 10)), st.sampled_from(["haar", "db4"]))
@settings(max_examples=30, deadline=None)
def test_energies_add_up_to_the_mean_square(x, wavelet):
    found = wavelet_packet_energies(x, wavelet=wavelet, level=3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), (x**2).mean(axis=1), atol=1e-9)


def test_energies_equal_the_tree_of_pywavelets():
    x = np.random.default_rng(0).standard_normal((3, 256))
    found = wavelet_packet_energies(x, wavelet="sym4", level=3)
    for segment, energies in zip(x, found, strict=True):
        tree = pywt.WaveletPacket(segment, "sym4", mode="periodization", maxlevel=3)
        expected = [(node.data**2).sum() / 256 for node in tree.get_level(3, order="freq")]
        np.testing.assert_allclose(energies, expected)


def test_a_sine_lies_in_the_node_of_its_frequency():
    t = np.arange(1024)
    x = np.stack([np.sin(2 * np.pi * (node + 0.5) / 16 * t) for node in range(8)]).astype(np.float32)
    found = wavelet_packet_energies(x, wavelet="db8", level=3, relative=True)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.argmax(axis=1), np.arange(8))
    assert (found.max(axis=1) > 0.75).all()


def test_names_and_silence():
    found = wavelet_packet_energies(np.zeros((1, 64)), level=2, relative=True)
    assert np.isnan(found).all()
    assert wavelet_packet_names("db4", 2) == (
        "wavelet_db4_2_0",
        "wavelet_db4_2_1",
        "wavelet_db4_2_2",
        "wavelet_db4_2_3",
    )


@pytest.mark.parametrize(("samples", "what"), [(100, "cut segments of 96 samples"), (48, "too short")])
def test_a_segment_that_cannot_be_halved_is_refused(samples, what):
    with pytest.raises(FleetError, match=what):
        wavelet_packet_energies(np.ones((1, samples)), wavelet="db4", level=3)


def test_wavelets_and_levels_are_checked():
    for wavelet in ("nonsense", "bior2.2", "morl"):
        with pytest.raises(UsageError, match="orthogonal"):
            wavelet_packet_energies(np.ones((1, 64)), wavelet=wavelet)
    with pytest.raises(UsageError, match="level"):
        wavelet_packet_energies(np.ones((1, 64)), level=0)


def test_without_pywavelets_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(MissingExtraError, match=r"wearcast\[signals\]"):
        wavelet_packet_energies(np.ones((1, 64)))
