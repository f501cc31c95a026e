"""Feature extraction against tsfresh 0.21: the same features of the same readings, in one run.

    python benchmarks/signal_features.py [--rounds 5]

Two jobs. `vibration`: segments of 1024 and of 6000 samples (half a second at 12 kHz) with level, shape, crossings, the
amplitudes of the first hundred lines of the spectrum and the spectrum's moments; the longer the segment, the more of
the time is the FFT's, which both sides take from NumPy. `fleet`: mean, deviation, slope, extremes and median of the
last 30 cycles at every row of every sensor; the windows that tsfresh needs are rolled out beforehand and not charged
to it. Both sides get float32 and one process, and take turns; a ratio is that of the best time of either side over all
rounds, of the wall's and of the processor's time. Before the clock starts, every column is compared; the largest
difference, relative to the column's largest value, is printed.

tsfresh is called as its documentation says, `extract_features` with a settings dictionary; `calculators` calls its
plain functions on bare arrays in a loop, without its tables, and tells how much of the ratio is those.

Needs tsfresh: pip install 'tsfresh==0.21.*' into an environment of its own, and wearcast beside it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wearcast.features import window_statistics
from wearcast.features.rolling import rolling_extremes, rolling_median
from wearcast.features.spectrum import power_spectrum, shape_features, shape_names
from wearcast.features.waveform import waveform_features

try:
    import pandas as pd
    from tsfresh import extract_features
    from tsfresh.feature_extraction import feature_calculators as calculators
except ImportError as problem:
    sys.exit(f"this benchmark compares with tsfresh, which is not installed ({problem})\npip install 'tsfresh==0.21.*'")

WANTED = 20.0
RATE, SEGMENTS, LINES = 12_000.0, 200, 100
UNITS, CYCLES, SENSORS, WIDTH = 4, 100, 5, 30
Work = Callable[[], np.ndarray]
Times = tuple[float, float]
VIBRATION = {
    "root_mean_square": None,
    "absolute_maximum": None,
    "variance": None,
    "kurtosis": None,
    "skewness": None,
    "number_crossing_m": [{"m": 0}],
    "fft_aggregated": [{"aggtype": kind} for kind in ("centroid", "variance", "skew")],
    "fft_coefficient": [{"coeff": k, "attr": "abs"} for k in range(1, LINES + 1)],
}
FLEET = {
    "mean": None,
    "standard_deviation": None,
    "linear_trend": [{"attr": "slope"}],
    "minimum": None,
    "maximum": None,
    "median": None,
}


def vibration(samples: int) -> np.ndarray:
    """Impacts that ring in noise, with nothing at 0 Hz and at half the rate: there the two sides differ on purpose."""
    rng = np.random.default_rng(0)
    impacts = np.where(rng.random((SEGMENTS, samples)) < 0.01, 5.0, 0.0)
    decay = np.exp(-np.arange(64) / 12) * np.sin(2 * np.pi * 0.25 * np.arange(64))
    spectrum = np.fft.rfft(impacts) * np.fft.rfft(decay, samples) + np.fft.rfft(rng.standard_normal(impacts.shape))
    spectrum[:, [0, -1]] = 0
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def our_vibration(x: np.ndarray) -> Work:
    wanted = ("rms", "peak", "kurtosis", "skewness", "zero_crossing_rate")

    def work() -> np.ndarray:
        waveform = waveform_features(x, names=wanted)
        spectrum = power_spectrum(x, RATE, window="boxcar")
        amplitudes = replace(spectrum, power=np.sqrt(spectrum.power))  # whose moments are tsfresh's
        shape = shape_features(amplitudes, names=shape_names()[:3])
        return np.concatenate([waveform, shape, spectrum.amplitudes(1, LINES + 1)], axis=1)

    return work


def long_table(x: np.ndarray) -> pd.DataFrame:
    n, samples = x.shape
    return pd.DataFrame(
        {"id": np.repeat(np.arange(n), samples), "time": np.tile(np.arange(samples), n), "x": x.ravel()}
    )


def their_vibration(x: np.ndarray) -> Work:
    table = long_table(x)

    def work() -> np.ndarray:
        found = extracted(table, VIBRATION)
        columns = [
            "x__root_mean_square",
            "x__absolute_maximum",
            "x__kurtosis",
            "x__skewness",
            "x__number_crossing_m__m_0",
        ]
        columns += [f'x__fft_aggregated__aggtype_"{kind}"' for kind in ("centroid", "variance", "skew")]
        columns += [f'x__fft_coefficient__attr_"abs"__coeff_{k}' for k in range(1, LINES + 1)]
        return in_our_terms(found[columns].to_numpy(), x.shape[1])

    return work


def calculators_vibration(x: np.ndarray) -> Work:
    moments, lines = VIBRATION["fft_aggregated"], VIBRATION["fft_coefficient"]

    def of(segment: np.ndarray) -> list[float]:
        return [
            calculators.root_mean_square(segment),
            calculators.absolute_maximum(segment),
            calculators.kurtosis(segment),
            calculators.skewness(segment),
            calculators.number_crossing_m(segment, 0),
            *(value for _, value in calculators.fft_aggregated(segment, moments)),
            *(value for _, value in calculators.fft_coefficient(segment, lines)),
        ]

    return lambda: in_our_terms(np.array([of(segment) for segment in x]), x.shape[1])


def in_our_terms(theirs: np.ndarray, n: int) -> np.ndarray:
    """Biased moments for unbiased ones, rates for counts, Hz for bins, amplitudes for sums."""
    step = RATE / n
    rms, peak, kurtosis, skewness, crossings, centroid, variance, skew = theirs[:, :8].T
    biased = (kurtosis * (n - 2) * (n - 3) / (n - 1) - 6) / (n + 1) + 3
    third = skewness * (n - 2) / np.sqrt(n * (n - 1))
    ours = [rms, peak, biased, third, crossings / (n - 1), centroid * step, np.sqrt(variance) * step, skew]
    return np.concatenate([np.stack(ours, axis=1), theirs[:, 8:] * 2 / n], axis=1)


def fleet() -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(1).standard_normal((UNITS * CYCLES, SENSORS)).astype(np.float32)
    return values, np.repeat(np.arange(UNITS) * CYCLES, CYCLES)


def whole_windows(start: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.arange(len(start)) - start >= WIDTH - 1)


def our_fleet(values: np.ndarray, start: np.ndarray) -> Work:
    rows = whole_windows(start)

    def work() -> np.ndarray:
        parts = [window_statistics(values, start, rows, (WIDTH,))[:, : 3 * SENSORS]]
        parts += [f(values, start, rows, (WIDTH,)) for f in (rolling_extremes, rolling_median)]
        return np.concatenate(parts, axis=1)

    return work


def fleet_windows(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """`(windows, WIDTH, sensors)`."""
    return values[whole_windows(start)[:, None] + np.arange(1 - WIDTH, 1)]


def their_fleet(values: np.ndarray, start: np.ndarray) -> Work:
    windows = fleet_windows(values, start)
    sensors = [f"s{i}" for i in range(SENSORS)]
    table = pd.DataFrame(windows.reshape(-1, SENSORS), columns=sensors)
    table["id"] = np.repeat(np.arange(len(windows)), WIDTH)
    table["time"] = np.tile(np.arange(WIDTH), len(windows))
    kinds = ("mean", "standard_deviation", 'linear_trend__attr_"slope"', "minimum", "maximum", "median")
    columns = [f"{sensor}__{kind}" for kind in kinds for sensor in sensors]

    def work() -> np.ndarray:
        return extracted(table, FLEET)[columns].to_numpy()

    return work


def calculators_fleet(values: np.ndarray, start: np.ndarray) -> Work:
    windows = fleet_windows(values, start).transpose(0, 2, 1)

    def of(segment: np.ndarray) -> list[float]:
        return [
            calculators.mean(segment),
            calculators.standard_deviation(segment),
            *(value for _, value in calculators.linear_trend(segment, FLEET["linear_trend"])),
            calculators.minimum(segment),
            calculators.maximum(segment),
            calculators.median(segment),
        ]

    def work() -> np.ndarray:
        found = np.array([[of(sensor) for sensor in window] for window in windows])
        return found.transpose(0, 2, 1).reshape(len(windows), -1)

    return work


def extracted(table: pd.DataFrame, settings: dict[str, object]) -> pd.DataFrame:
    return extract_features(
        table,
        column_id="id",
        column_sort="time",
        default_fc_parameters=settings,
        disable_progressbar=True,
        n_jobs=0,
    )


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of any column, as a part of the column's largest value."""
    return float((np.abs(ours - theirs).max(axis=0) / np.abs(theirs).max(axis=0)).max())


def timed(work: Work, repeats: int) -> Times:
    """Wall and processor seconds of the best of some repeats, which others on the machine disturb least."""
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def race(name: str, ours: Work, others: dict[str, Work], rounds: int, amount: int) -> bool:
    """One line an opponent; whether both sides agree and both ratios to tsfresh itself are what is wanted."""
    good = True
    for other, theirs in others.items():
        apart = difference(ours(), theirs())
        gc.collect()
        pairs = [(timed(ours, 10), timed(theirs, 2)) for _ in range(rounds)]
        (wall, processor), (wall_there, processor_there) = (
            [min(times[clock] for times in side) for clock in (0, 1)] for side in zip(*pairs, strict=True)
        )
        mine, yours = amount / wall, amount / wall_there
        ratios = [wall_there / wall, processor_there / processor]
        held = other == "tsfresh"
        verdict = f"{WANTED:8.1f}x  {'ok' if min(ratios) >= WANTED else 'MISSED'}" if held else ""
        print(
            f"{name:16s}{other:14s}{mine:12.0f}{yours:12.1f}{ratios[0]:9.1f}x{ratios[1]:10.1f}x{apart:12.1e}{verdict}"
        )
        good = good and apart < 1e-3 and (min(ratios) >= WANTED or not held)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore")
    values, start = fleet()
    print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}; windows a second")
    head = ("wearcast", "theirs", "wall", "processor", "difference", "wanted")
    widths = (12, 12, 10, 11, 12, 9)
    print(f"{'':16s}{'against':14s}" + "".join(f"{title:>{width}s}" for title, width in zip(head, widths, strict=True)))
    good = True
    for samples in (1024, 6000):
        x = vibration(samples)
        others = {"tsfresh": their_vibration(x), "calculators": calculators_vibration(x)}
        good &= race(f"vibration {samples}", our_vibration(x), others, rounds, SEGMENTS)
    good &= race(
        "fleet",
        our_fleet(values, start),
        {"tsfresh": their_fleet(values, start), "calculators": calculators_fleet(values, start)},
        rounds,
        len(whole_windows(start)) * SENSORS,
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
