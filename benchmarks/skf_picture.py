"""The picture of the bearing recordings in the documentation: waveforms and pre-whitened envelope spectra.

WEARCAST_DATA_DIR=… python benchmarks/skf_picture.py docs/assets/skf-signals.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from wearcast.datasets.skf import SkfDataset
from wearcast.features.bearing import SKF_6205
from wearcast.features.envelope import prewhiten, squared_envelope
from wearcast.features.spectrum import power_spectrum

UNITS = ("IR007_0", "OR007@6_0", "B007_0", "OR014@6_0")
RATE = 12000.0


def main() -> None:
    fleet = SkfDataset(loads=(0,)).load("all")
    figure, axes = plt.subplots(len(UNITS), 2, figsize=(9, 6.2), sharex="col", width_ratios=(1, 1.5))
    for unit, (left, right) in zip(UNITS, axes, strict=True):
        frame = fleet.unit_frame(unit)
        signal = frame["DE"].to_numpy().astype(np.float64)
        shaft = float(frame["rpm"][0]) / 60
        left.plot(np.arange(1200) / RATE * 1000, signal[:1200], lw=0.5, color="#334155")
        left.set_ylabel(f"{unit}\ng")
        segments = signal[: 12000 * 9].reshape(9, 12000)
        envelope = squared_envelope(prewhiten(segments), RATE, (300.0, 5700.0))
        spectrum = power_spectrum(envelope, RATE)
        shown = (spectrum.frequencies_hz > 8) & (spectrum.frequencies_hz < 520)
        power = spectrum.power.mean(axis=0)
        right.plot(spectrum.frequencies_hz[shown], power[shown] / np.median(power[shown]), lw=0.6, color="#334155")
        for order, colour, name in ((SKF_6205.bpfi, "#dc2626", "BPFI"), (SKF_6205.bpfo, "#2563eb", "BPFO")):
            for h in (1, 2, 3):
                right.axvline(order * shaft * h, color=colour, lw=0.8, ls=":", label=name if h == 1 else None)
        right.set_yscale("log")
        right.set_ylim(0.3, 400)
    axes[0, 1].legend(loc="upper right", fontsize=8)
    axes[-1, 0].set_xlabel("ms")
    axes[-1, 1].set_xlabel("Hz (pre-whitened envelope spectrum over its median)")
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=72)


if __name__ == "__main__":
    main()
