"""Paths in an experiment: relative to the file that says them, and whole in what the bundle keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wearcast.config.writing import to_yaml
from wearcast.datasets import ColumnMapping, FailureTable, FilesDataset
from wearcast.errors import ConfigError
from wearcast.target import RulTarget
from wearcast.training import Ensemble, Experiment
from wearcast.training.recipes import load_experiment

BASE = """extends: lightgbm
dataset:
  kind: files
  source: [data/a.csv, "data/more/*.csv"]
  test_source: ../other/test.csv
  mapping: data/map.yaml
  test_end_of_life: {failures: ends.csv}
"""
MAPPING = "unit: u\ncycle: c\nsensors: [s]\nend_of_life: {failures: failures.csv}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`base/base.yaml` with its mapping, `top.yaml` that extends it, and a working directory that is elsewhere."""
    (tmp_path / "base" / "data").mkdir(parents=True)
    (tmp_path / "base" / "base.yaml").write_text(BASE)
    (tmp_path / "base" / "data" / "map.yaml").write_text(MAPPING)
    (tmp_path / "top.yaml").write_text("extends: base/base.yaml\nname: top\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path.resolve()


def files(experiment: Experiment | Ensemble) -> FilesDataset:
    assert isinstance(experiment.dataset, FilesDataset)
    return experiment.dataset


@pytest.mark.parametrize("name", ["base/base.yaml", "top.yaml"])
def test_a_path_is_relative_to_the_file_that_says_it(project: Path, name: str):
    dataset = files(load_experiment(f"../{name}"))
    base = project / "base"
    assert dataset.source == (str(base / "data" / "a.csv"), str(base / "data" / "more" / "*.csv"))
    assert dataset.test_source == str(project / "other" / "test.csv")
    assert dataset.test_end_of_life == FailureTable(failures=str(base / "ends.csv"))
    assert isinstance(dataset.mapping, ColumnMapping)
    assert dataset.mapping.end_of_life == FailureTable(failures=str(base / "data" / "failures.csv"))


def test_a_path_in_the_mapping_of_an_experiment(project: Path):
    text = "extends: top.yaml\ndataset:\n  source: one.csv\n  mapping:\n    unit: u\n    time: t\n"
    (project / "own.yaml").write_text(f"{text}    end_of_life: {{failures: sub/f.csv}}\n")
    dataset = files(load_experiment("../own.yaml"))
    assert dataset.source == str(project / "one.csv")
    assert isinstance(dataset.mapping, ColumnMapping)
    assert dataset.mapping.end_of_life == FailureTable(failures=str(project / "sub" / "f.csv"))


def test_a_path_on_the_command_line_is_relative_to_the_working_directory(project: Path):
    here = project / "elsewhere"
    assert files(load_experiment("../top.yaml", ["dataset.source=x.csv"])).source == str(here / "x.csv")
    record = FilesDataset(source="y.csv").model_dump(mode="json")
    given = load_experiment("lightgbm", dataset=("--source y.csv", record))
    assert files(given).source == str(here / "y.csv")
    assert files(given).name == "files/y.csv"


def test_the_resolved_experiment_reads_the_same_from_anywhere(project: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = load_experiment("../top.yaml")
    shown = project / "elsewhere" / "shown.yaml"
    shown.write_text(to_yaml(experiment))
    monkeypatch.chdir(project)
    assert load_experiment("elsewhere/shown.yaml") == experiment


def test_a_link_keeps_its_own_name(project: Path):
    (project / "real.csv").touch()
    (project / "base" / "latest.csv").symlink_to(project / "real.csv")
    (project / "base" / "link.yaml").write_text("extends: ./base.yaml\ndataset: {source: latest.csv}\n")
    assert files(load_experiment("../base/link.yaml")).source == str(project / "base" / "latest.csv")


def test_a_mapping_that_is_not_there_is_found_by_the_check(project: Path):
    (project / "base" / "data" / "map.yaml").unlink()
    with pytest.raises(ConfigError, match=r"base/data/map\.yaml: no such file"):
        load_experiment("../top.yaml")


def test_a_missing_file_below_is_named_with_the_line_that_asks_for_it(project: Path):
    (project / "bad.yaml").write_text("name: bad\nextends: base/bose.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment("../bad.yaml")
    assert str(caught.value) == (
        "../bad.yaml:2: extends: there is no file ../base/bose.yaml (did you mean 'base.yaml'?)"
    )
    with pytest.raises(ConfigError, match=r"no such file \(did you mean 'top.yaml'\?\)"):
        load_experiment("../tap.yaml")


def test_a_target_is_a_rul_unless_it_says_otherwise():
    """`--set target.max_rul=400` on a recipe without a target."""
    from wearcast.target import RulTarget
    from wearcast.training.recipes import load_experiment

    target = load_experiment("lightgbm", ("target.max_rul=400", "dataset.kind=simulated")).target
    assert isinstance(target, RulTarget)
    assert target.max_rul == 400


def test_trees_have_no_focal_loss():
    from wearcast.training.recipes import load_experiment

    with pytest.raises(ConfigError, match="no focal loss"):
        load_experiment("ai4i-failure", ("target.focal_gamma=2",))


@pytest.mark.parametrize("keys", [{"kind": "lookout"}, {"kind": "recordings", "sampling_rate_hz": 9}])
def test_a_layouts_path_is_relative_to_its_file_or_to_the_working_directory(project: Path, keys: dict[str, object]):
    (project / "own.yaml").write_text(f"extends: lightgbm\ndataset: {json.dumps({**keys, 'source': 'pump-7'})}\n")
    flagged = ("--source", {**keys, "source": "here"})
    found = (load_experiment("../own.yaml").dataset, load_experiment("lightgbm", dataset=flagged).dataset)
    assert [getattr(one, "source", None) for one in found] == [
        str(project / "pump-7"),
        str(project / "elsewhere" / "here"),
    ]


ENSEMBLE = """\
version: 1
name: e
dataset: {kind: simulated, units: 12}
target: {kind: rul, max_rul: 40}
members:
  a: {extends: ridge}
  b:
    extends: cmapss-fd001-lightgbm
"""


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("    target: {max_rul: 60}\n", r"e\.yaml:9: member 'b' asks for another target.*max_rul is 60, not 40"),
        ("    target: {bins: 20}\n", "target.bins is 20, not what is the default"),
        ("    dataset: {kind: cmapss}\n", "another data set than the ensemble: dataset.kind is 'cmapss'"),
    ],
)
def test_a_member_that_asks_for_another_target_or_data_set(tmp_path: Path, own: str, says: str):
    """What its recipe says gives way to the ensemble, what is written for the member itself must not."""
    path = tmp_path / "e.yaml"
    path.write_text(ENSEMBLE + own)
    with pytest.raises(ConfigError, match=says):
        load_experiment(path)
    path.write_text(ENSEMBLE + "    target: {max_rul: 40}\n")
    ensemble = load_experiment(path)
    assert isinstance(ensemble, Ensemble)
    assert {member.target for member in ensemble.members.values()} == {ensemble.target}
    with pytest.raises(ConfigError, match=r"--set members\.a\.target\.max_rul=3: member 'a' asks for another"):
        load_experiment(path, ["members.a.target.max_rul=3"])
    flagged = load_experiment(path, ["target.max_rul=50"])
    assert isinstance(flagged.target, RulTarget)
    assert flagged.target.max_rul == 50


def test_what_all_members_share_is_complained_about_once():
    """And what is wrong elsewhere beside it."""
    with pytest.raises(ConfigError) as caught:
        load_experiment("cmapss-fd001-ensemble", ("dataset.also=[FD009]", "members.tft.trainer.max_epochs=0"))
    said = str(caught.value)
    assert said.count("FD009]: ") == said.count("max_epochs=0: ") == 1
    assert "and 1 more" in said


@pytest.mark.parametrize(
    ("recipe", "assignment", "said"),
    [
        (
            "cmapss-fd001-ensemble",
            "members.x.seed=3",
            r"there is no member 'x' \(its members are trees, cnn_bilstm, tft, autoformer, informer\)",
        ),
        ("cmapss-fd001-ensemble", "members.tree.seed=3", r"no member 'tree' \(did you mean 'trees'\? its members"),
        ("cmapss-fd001-tft", "members.x.seed=3", r"one model, it has no members \(--set seed="),
    ],
)
def test_a_part_of_a_member_that_there_is_not_is_refused_with_those_that_there_are(
    recipe: str, assignment: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_experiment(recipe, [assignment])


def test_heads_that_do_not_divide_the_width_are_refused_before_training():
    """The network would say so too, but only once the data are read."""
    with pytest.raises(ConfigError, match="d_model 31 cannot be divided among n_heads 4"):
        load_experiment("tft", ["backbone.d_model=31", "dataset.kind=simulated"])


FILES = "dataset={kind: files, source: a.csv, mapping: {unit: u, end_of_life: last_row, %s}}"


@pytest.mark.parametrize(("recipe", "dataset"), [("cmapss-fd001-tft", []), ("tft", [FILES % "cycle: c"])])
def test_a_calendar_of_cycles_is_refused_when_it_is_read(recipe: str, dataset: list[str]) -> None:
    """Where the data set says what its time is; a mapping in a file is read with the data only."""
    with pytest.raises(ConfigError, match=r"counter of cycles, without a calendar: leave features\.calendar out"):
        load_experiment(recipe, [*dataset, "features.calendar=[hour]"])


def test_a_clock_has_a_calendar() -> None:
    assert load_experiment("tft", [FILES % "time: t", "features.calendar=[hour]"]).record()["features"]["calendar"]
