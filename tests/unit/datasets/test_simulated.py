"""The simulator: its physics, its splits, its determinism and its stream."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from wearcast.datasets.degradation import CONDITIONS, FAULT_MODES, SENSORS, SETTINGS, simulate
from wearcast.datasets.simulated import CARD, SimulatedDataset, stream_parquet
from wearcast.errors import MissingExtraError, SourceNotFoundError, UsageError
from wearcast.fleet import Fleet

SMALL = SimulatedDataset(units=12, test_units=6, typical_life=60)
SENSOR_NAMES = [sensor.name for sensor in SENSORS]
SETTING_NAMES = [setting.name for setting in SETTINGS]

configs = st.builds(
    SimulatedDataset,
    units=st.integers(1, 6),
    test_units=st.integers(1, 4),
    conditions=st.integers(1, 6),
    fault_modes=st.integers(1, 3),
    censored_share=st.floats(0, 1),
    noise=st.floats(0, 20),
    wear_noise=st.floats(0, 0.5),
    typical_life=st.floats(20, 120),
    seed=st.integers(0, 2**32),
)


def events(fleet: Fleet) -> pl.DataFrame:
    last = fleet.frame.group_by("unit", maintain_order=True).agg(pl.col("time").last().alias("last"))
    return fleet.events.join(last, on="unit")


# ---------------------------------------------------------------------- determinism


def test_the_same_seed_is_the_same_fleet():
    assert SMALL.load("all").fingerprint == SMALL.load("all").fingerprint


def test_another_seed_is_another_fleet():
    other = SMALL.model_copy(update={"seed": 1})
    assert SMALL.load().fingerprint != other.load().fingerprint
    assert SMALL.load().end_of_life_age.tolist() != other.load().end_of_life_age.tolist()


def test_splits_are_different_engines():
    lives = {split: SMALL.histories(split, range(6)).life.tolist() for split in ("train", "test")}
    assert lives["train"] != lives["test"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_unit_does_not_depend_on_the_number_of_units(split):
    many, few = (SMALL.histories(split, units) for units in (range(12), range(5, 7)))
    rows = np.isin(many.row_index, [5, 6])
    np.testing.assert_array_equal(many.values[rows], few.values)
    np.testing.assert_array_equal(many.health[rows], few.health)
    assert many.life[5:7].tolist() == few.life.tolist()


def test_a_cut_history_is_the_beginning_of_the_whole_one():
    whole, cut = (simulate(range(8), stream=(3,), stop=stop, typical_life=60) for stop in ("failure", "truncated"))
    assert (cut.stop < whole.stop).all()
    for unit in range(8):
        part = cut.values[cut.row_index == unit]
        np.testing.assert_array_equal(whole.values[whole.row_index == unit][: len(part)], part)


def test_more_units_than_a_chunk_make_one_fleet(monkeypatch):
    whole = SMALL.load("all")
    monkeypatch.setattr("wearcast.datasets.simulated._CHUNK_UNITS", 5)
    assert SMALL.load("all").fingerprint == whole.fingerprint


# ---------------------------------------------------------------------- physics


def test_wear_never_heals_and_life_ends_where_the_margin_does():
    histories = simulate(range(30), stream=(0,), fault_modes=3, wear_noise=0.5, typical_life=80)
    for unit in range(30):
        health = histories.health[histories.row_index == unit]
        assert len(health) == histories.life[unit]
        assert (np.diff(health) < 0).all()
        assert health[-1] <= 0 < health[-2]


def test_the_loss_accelerates():
    """Exponential damage: a unit loses most of its margin in the last half of its life."""
    histories = simulate(range(30), stream=(0,), wear_noise=0.0)
    halves = [histories.health[histories.row_index == unit][histories.life[unit] // 2] for unit in range(30)]
    assert min(halves) > 0.5


def test_lives_are_those_of_turbofan_studies():
    life = SimulatedDataset().histories("train", range(300)).life
    assert 110 <= life.min() < 150 < np.median(life) < 250 < life.max() <= 380


def test_typical_life_scales_lives():
    lives = [np.median(simulate(range(60), stream=(0,), typical_life=life).life) for life in (50, 400)]
    assert lives[1] / lives[0] == pytest.approx(8, rel=0.1)


def test_initial_wear_differs_between_units():
    health = SMALL.histories("train", range(12)).health
    first = health[SMALL.load().offsets[:-1]]
    assert len(np.unique(first)) == 12
    assert first.min() > 0.5


def test_wear_shows_in_sensors_when_old_but_not_when_young():
    histories = simulate(range(40), stream=(0,), fault_modes=1, noise=1.0)
    exhaust = histories.values[:, len(SETTINGS) + SENSOR_NAMES.index("exhaust_temperature")]
    ends = np.cumsum(histories.stop)
    starts = ends - histories.stop
    noise = np.std([exhaust[s : s + 10].std() for s in starts]) + np.mean([exhaust[s : s + 10].std() for s in starts])
    young = np.mean([exhaust[s + 20 : s + 30].mean() - exhaust[s : s + 10].mean() for s in starts])
    old = np.mean([exhaust[e - 10 : e].mean() - exhaust[s : s + 10].mean() for s, e in zip(starts, ends, strict=True)])
    assert abs(young) < noise
    assert old > 4 * noise


def test_fault_modes_move_the_sensors_in_patterns_of_their_own():
    histories = simulate(range(60), stream=(0,), fault_modes=3, noise=0.0)
    patterns = {}
    for mode in range(3):
        units = histories.index[histories.mode == mode]
        moves = []
        for unit in units:
            sensors = histories.values[histories.row_index == unit, len(SETTINGS) :]
            moves.append(sensors[-1] / sensors[0] - 1)
        patterns[mode] = np.mean(moves, axis=0)
    bypass, vibration, exhaust = (SENSOR_NAMES.index(n) for n in ("bypass_ratio", "vibration", "exhaust_temperature"))
    assert patterns[0][bypass] > 0 > patterns[1][bypass]
    assert patterns[1][vibration] > 2 * patterns[0][vibration]
    assert patterns[2][exhaust] > 2 * patterns[2][bypass]
    assert patterns[0][exhaust] < 2 * patterns[0][bypass]


def test_some_sensors_are_dead_and_one_moves_without_wear():
    fleet = SMALL.load()
    assert fleet.frame["bleed_valve"].n_unique() == 1
    assert fleet.frame["inlet_temperature"].n_unique() == 1
    quiet = simulate(range(40), stream=(0,), noise=0.0)
    trend = []
    for unit in range(40):
        oil = quiet.values[quiet.row_index == unit, len(SETTINGS) + SENSOR_NAMES.index("oil_pressure")]
        trend.append(np.sign(oil[-1] - oil[0]))
    assert {-1.0, 1.0} <= set(trend)


def test_noise_scales_and_is_rougher_on_worn_engines():
    def spread(noise: float) -> tuple[float, float]:
        histories, still = (simulate(range(60), stream=(0,), noise=scale) for scale in (noise, 0.0))
        error = (histories.values - still.values)[:, len(SETTINGS) + SENSOR_NAMES.index("vibration")]
        return float(error[histories.health > 0.8].std()), float(error[histories.health < 0.2].std())

    young, old = spread(1.0)
    assert old > 1.15 * young
    assert spread(3.0)[0] == pytest.approx(3 * young, rel=0.01)


@pytest.mark.parametrize("conditions", [1, 3, 6])
def test_operating_conditions_are_told_apart_by_the_settings(conditions):
    fleet = SMALL.model_copy(update={"conditions": conditions}).load()
    found = fleet.values(SETTING_NAMES)
    nominal = np.array(CONDITIONS[:conditions])
    distance = np.abs(found[:, None] - nominal).max(axis=2)
    assert (distance.min(axis=1) < 0.15).all()
    assert set(distance.argmin(axis=1)) == set(range(conditions))


def test_conditions_shift_and_scale_the_sensors():
    fleet = SMALL.model_copy(update={"conditions": 2, "noise": 0.0}).load()
    high = fleet.frame["altitude"] > 5
    pressure, inlet = fleet.frame["compressor_pressure"], fleet.frame["inlet_temperature"]
    assert np.mean(pressure.filter(high).to_numpy()) < 0.6 * np.mean(pressure.filter(~high).to_numpy())
    assert inlet.filter(high).n_unique() == inlet.filter(~high).n_unique() == 1


# ---------------------------------------------------------------------- splits


def test_train_runs_to_failure_but_for_a_censored_share():
    fleet = SimulatedDataset(units=100, censored_share=0.3, typical_life=40).load("train")
    censored = np.isnan(fleet.end_of_life_age)
    assert 15 <= censored.sum() <= 45
    ends = events(fleet)
    assert (ends["time"] == ends["last"]).all()
    assert set(fleet.events["kind"]) == {"end_of_life"}
    assert set(fleet.events["mode"]) == set(FAULT_MODES[:2])


@pytest.mark.parametrize(("share", "failed"), [(0.0, 12), (1.0, 0)])
def test_censoring_can_be_none_or_all(share, failed):
    fleet = SMALL.model_copy(update={"censored_share": share}).load()
    assert fleet.summary()["failed"] == failed


def test_truth_of_a_test_unit_lies_after_its_last_reading():
    fleet = SMALL.load("test")
    ends = events(fleet)
    assert ends.height == fleet.n_units == 6
    assert (ends["time"] > ends["last"]).all()
    assert ends["mode"].is_in(FAULT_MODES).all()


def test_all_is_train_and_test_under_ids_of_their_own():
    train, test, both = (SMALL.load(split) for split in ("train", "test", "all"))
    assert both.units == train.units + test.units == tuple(range(1, 19))
    assert both.frame.equals(pl.concat([train.frame, test.frame]))
    assert both.events.height == train.events.height + test.events.height


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match=r"'validation'.*train, test, all"):
        SMALL.load("validation")  # type: ignore[arg-type]


def test_a_fleet_says_that_it_is_simulated():
    fleet = SMALL.load()
    assert (SMALL.name, fleet.name, SMALL.load("all").name) == ("simulated", "simulated train", "simulated")
    assert [(note.kind, note.count) for note in fleet.notes] == [("simulated", 12)]
    assert "not measured" in fleet.notes[0].message


def test_columns_have_units_of_measure_and_descriptions():
    schema = SMALL.load().schema
    assert schema.sensors == tuple(SENSOR_NAMES)
    assert schema.settings == tuple(SETTING_NAMES)
    assert schema.units_of_measure["exhaust_temperature"] == "K"
    assert set(schema.units_of_measure) == set(schema.numeric) == set(CARD.descriptions)


@pytest.mark.parametrize(
    "wrong", [{"units": 0}, {"conditions": 7}, {"fault_modes": 4}, {"censored_share": 1.5}, {"noises": 1}, {"seed": -1}]
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        SimulatedDataset.model_validate(wrong)


@settings(max_examples=25, deadline=None)
@given(config=configs)
def test_every_config_gives_a_sound_fleet(config):
    fleet = config.load("all")
    lengths = np.diff(fleet.offsets)
    rul, known = fleet.rul()
    ends = events(fleet)
    assert fleet.n_units == config.units + config.test_units
    assert (lengths >= 1).all()
    assert (fleet.frame["time"].to_numpy()[fleet.offsets[:-1]] == 1).all()
    assert np.isfinite(fleet.values(fleet.schema.numeric)).all()
    assert (rul >= 0).all()
    assert known[fleet.offsets[config.units] :].all()
    assert ends["mode"].is_in(FAULT_MODES[: config.fault_modes]).all()
    assert lengths.max() < 3 * config.typical_life


# ---------------------------------------------------------------------- stream


def read(path: Path) -> Fleet:
    return Fleet.from_frame(
        pl.read_parquet(path),
        unit="unit",
        cycle="cycle",
        sensors=SENSOR_NAMES,
        settings=SETTING_NAMES,
        events="last_row",
    )


def test_a_stream_reads_back_as_the_fleet_in_memory(tmp_path):
    config = SimulatedDataset(units=12, typical_life=60, censored_share=0, conditions=3, seed=5)
    fleet = config.load("train")
    written = stream_parquet(tmp_path / "fleet.parquet", rows=fleet.n_rows, config=config, chunk_units=5)
    back = read(tmp_path / "fleet.parquet")
    assert written == fleet.n_rows
    assert back.frame.equals(fleet.frame)
    assert back.events.select("unit", "time").equals(fleet.events.select("unit", "time"))


def test_a_stream_does_not_depend_on_its_chunks_and_has_whole_units(tmp_path):
    tables = []
    for chunk_units in (1, 4, 100):
        path = tmp_path / f"{chunk_units}.parquet"
        written = stream_parquet(path, rows=400, config=SMALL, chunk_units=chunk_units)
        tables.append(pl.read_parquet(path))
        assert written == tables[-1].height >= 400
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    life = SMALL.histories("train", range(20)).life
    sizes = tables[0].group_by("unit", maintain_order=True).len()["len"].to_numpy()
    assert sizes.tolist() == life[: len(sizes)].tolist()
    assert sizes[:-1].sum() < 400


def test_a_stream_is_float32_with_a_row_group_a_chunk_and_tells_its_progress(tmp_path):
    calls: list[tuple[int, int]] = []
    path = tmp_path / "fleet.parquet"
    stream_parquet(path, rows=500, config=SMALL, chunk_units=3, progress=lambda *done: calls.append(done))
    file = parquet.ParquetFile(path)
    assert {str(file.schema_arrow.field(name).type) for name in SENSOR_NAMES + SETTING_NAMES} == {"float"}
    assert file.metadata.num_row_groups == len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1][0] >= 500 == calls[-1][1]


def test_a_seed_given_to_the_stream_replaces_that_of_the_config(tmp_path):
    tables = []
    for i, seed in enumerate([None, 0, 7]):
        stream_parquet(tmp_path / f"{i}.parquet", rows=50, seed=seed, config=SMALL)
        tables.append(pl.read_parquet(tmp_path / f"{i}.parquet"))
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_an_interrupted_stream_leaves_the_old_file_and_no_half(tmp_path):
    path = tmp_path / "fleet.parquet"
    path.write_bytes(b"old")

    def stop(written: int, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_parquet(path, rows=500, config=SMALL, chunk_units=2, progress=stop)
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.parquet"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"chunk_units": 0}])
def test_a_stream_of_nothing_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="at least 1"):
        stream_parquet(tmp_path / "fleet.parquet", **wrong)
    assert not list(tmp_path.iterdir())


def test_a_stream_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SourceNotFoundError, match="no such folder"):
        stream_parquet(tmp_path / "nowhere" / "fleet.parquet", rows=10)
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_stream_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        stream_parquet(tmp_path / "fleet.parquet", rows=10)
    assert not list(tmp_path.iterdir())
