"""What models are told of missing readings: which columns get a mask, what it says, and that it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast import Fleet
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.reading import read_fleet
from wearcast.errors import FleetError
from wearcast.features import SequenceFeatures, StatisticsFeatures, share_names, window_shares
from wearcast.inference.tables import table_columns, table_of
from wearcast.windows import Preprocessing, Windows, WindowSpec

NAN = float("nan")


def make_holed(
    *, holes: tuple[int, ...] = (4, 5, 12), masked: tuple[str, ...] = (), fill: bool = False, load: bool = True
) -> Fleet:
    """Two units of ten readings; `s0` misses some. With `fill` the last known value is written there instead."""
    rng = np.random.default_rng(0)
    s0, s1 = rng.normal(size=20).round(2), rng.normal(size=20).round(2)
    for hole in holes:
        s0[hole] = s0[hole - 1] if fill else NAN
    frame = pl.DataFrame(
        {"u": np.repeat([1, 2], 10), "c": [*range(10), *range(10)], "load": s1 + 1, "s0": s0, "s1": s1}
    )
    return Fleet.from_frame(
        frame, unit="u", cycle="c", sensors=["s0", "s1"], settings=["load"] if load else [], masked=masked
    )


def past(fitted: Preprocessing, fleet: Fleet, length: int = 3) -> dict[str, np.ndarray]:
    """Channels by name, `(n_rows, length)`, of the window of each row."""
    windows = Windows(fitted.transform(fleet), WindowSpec(context_length=length), np.arange(fleet.n_rows))
    values = windows.batch(slice(None)).past
    assert values.shape[2] == len(fitted.names) == len(fitted.sensor_of) == len(fitted.exact)
    return {name: values[:, :, i] for i, name in enumerate(fitted.names)}


class TestChoice:
    @pytest.mark.parametrize(
        ("option", "told", "expected"),
        [
            ("auto", (), ()),
            ("auto", ("s0", "s1", "load"), ("s0",)),  # nothing is missing of the other two
            ("missing", (), ("s0",)),
            ("all", (), ("s0", "s1", "load")),
            ("none", ("s0",), ()),
        ],
    )
    def test_columns_with_a_mask(self, option: str, told: tuple[str, ...], expected: tuple[str, ...]) -> None:
        features = SequenceFeatures.model_validate({"missing_mask": option})
        fitted = Preprocessing.fit(make_holed(masked=told), features)
        assert fitted.masked == expected
        assert [name for name in fitted.names if name.endswith("_present")] == [f"{c}_present" for c in expected]

    def test_a_mapping_leads_to_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("u,c,a,b\n1,1,1,5\n1,2,,6\n1,3,3,\n1,4,2,7\n", encoding="utf-8")
        mapping = ColumnMapping(unit="u", cycle="c", missing={"default": "hold", "a": "mask"})
        fleet = read_fleet([tmp_path / "a.csv"], mapping, name="files/a.csv")
        assert fleet.schema.masked == ("a",)
        fitted = Preprocessing.fit(fleet, SequenceFeatures())
        assert fitted.masked == ("a",)
        np.testing.assert_array_equal(past(fitted, fleet)["a_present"][-1], [0, 1, 1])

    def test_only_a_sensor_or_a_setting_can_be_masked(self) -> None:
        with pytest.raises(FleetError, match="masked column 'u' is no sensor"):
            make_holed(masked=("u",))

    def test_the_fingerprint_knows_the_policy_and_is_what_it_was_without_one(self) -> None:
        plain = make_holed()
        assert plain.fingerprint == "9a1b6448ff0d7a9f3ffd9cd5987713b984b127e8573b218500851b7d4c31db24"
        assert make_holed(masked=("s0",)).fingerprint != plain.fingerprint


class TestMask:
    @given(st.sets(st.integers(1, 9), min_size=1, max_size=6))
    @settings(max_examples=20, deadline=None)
    def test_it_is_0_exactly_where_the_reading_was_missing(self, holes: set[int]) -> None:
        fleet = make_holed(holes=tuple(sorted(holes)))
        found = past(Preprocessing.fit(fleet, SequenceFeatures(missing_mask="missing")), fleet, length=1)
        np.testing.assert_array_equal(found["s0_present"][:, 0], ~np.isnan(fleet.frame["s0"].to_numpy()))

    def test_held_values_cannot_be_told_without_it(self) -> None:
        """Two histories that differ in what was missing look alike but for the mask."""
        fleet = make_holed(load=False)
        fitted = Preprocessing.fit(fleet, SequenceFeatures(missing_mask="missing"))
        holed, filled = past(fitted, fleet), past(fitted, make_holed(load=False, fill=True))
        for name in fitted.names:
            assert np.array_equal(holed[name], filled[name]) == (name != "s0_present")

    def test_the_other_channels_are_as_they_are_without_a_mask(self) -> None:
        fleet = make_holed()
        plain = past(Preprocessing.fit(fleet, SequenceFeatures()), fleet)
        masked = past(Preprocessing.fit(fleet, SequenceFeatures(missing_mask="all")), fleet)
        assert set(masked) - set(plain) == {"s0_present", "s1_present", "load_present"}
        for name, values in plain.items():
            np.testing.assert_array_equal(masked[name], values)

    def test_a_sensor_that_is_left_out_keeps_its_mask(self) -> None:
        fleet = make_holed()
        fitted = Preprocessing.fit(fleet, SequenceFeatures(missing_mask="all"))
        without, plain = (fitted.transform(fleet, without=names) for names in (["s0"], []))
        np.testing.assert_array_equal(without.values[:, 2:5], plain.values[:, 2:5])
        assert not without.values[:, 0].any()

    def test_each_channel_knows_its_sensor(self) -> None:
        fitted = Preprocessing.fit(make_holed(), SequenceFeatures(missing_mask="all"))
        found = list(zip(fitted.names, fitted.sensor_of, fitted.exact, strict=True))
        assert found == [
            ("s0", 0, False),
            ("s1", 1, False),
            ("s0_deviation", 0, False),
            ("s1_deviation", 1, False),
            ("s0_present", 0, True),
            ("s1_present", 1, True),
            ("load_present", -1, True),
            ("load", -1, False),
            ("age", -1, False),
        ]

    def test_it_is_stored_and_absent_from_what_was_stored_before(self) -> None:
        fleet = make_holed()
        fitted = Preprocessing.fit(fleet, SequenceFeatures(missing_mask="missing"))
        assert Preprocessing.model_validate_json(fitted.model_dump_json()) == fitted
        old = Preprocessing.fit(fleet, SequenceFeatures()).model_dump(mode="json")
        del old["masked"], old["features"]["missing_mask"]
        assert Preprocessing.model_validate(old).names == ("s0", "s1", "s0_deviation", "s1_deviation", "load", "age")


class TestShares:
    def test_tables_hold_the_mark_and_the_share_of_the_readings_that_are_there(self) -> None:
        fleet, features = make_holed(), StatisticsFeatures(scales=(2, 4), missing_mask="missing")
        fitted = Preprocessing.fit(fleet, features)
        rows = np.array([3, 5, 10, 13])
        table = table_of(fitted.transform(fleet), rows, features)
        names = table_columns(fitted, features)
        assert table.shape[1] == len(names)
        found = {name: table[:, names.index(name)].tolist() for name in names if "_present" in name}
        assert found == {
            "s0_present": [1, 0, 1, 1],
            "s0_present_share_2": [1, 0, 1, 0.5],
            "s0_present_share_4": [1, 0.5, 1, 0.75],
        }

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
    @settings(max_examples=20, deadline=None)
    def test_shares_equal_a_plain_loop(self, sizes: list[int], seed: int) -> None:
        start = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
        marks = np.random.default_rng(seed).integers(0, 2, (len(start), 2)).astype(np.float32)
        found = window_shares(marks, start, np.arange(len(start)), (2, 5))
        expected = [
            np.concatenate([marks[max(start[row], row + 1 - w) : row + 1].mean(axis=0) for w in (2, 5)])
            for row in range(len(start))
        ]
        np.testing.assert_allclose(found, np.array(expected), atol=1e-6)
        assert share_names(("a", "b"), (2, 5)) == ("a_share_2", "b_share_2", "a_share_5", "b_share_5")
