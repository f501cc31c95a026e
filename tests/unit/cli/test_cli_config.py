"""`wearcast config` and the recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

from wearcast.config.checking import parse
from wearcast.config.inheritance import load
from wearcast.config.writing import to_yaml
from wearcast.errors import ConfigError
from wearcast.training import Ensemble
from wearcast.training.recipes import find_recipe, load_experiment, recipe_names, recipe_summaries

PLAIN = tuple(name for name in recipe_names() if "dataset" not in load(find_recipe(name), find=find_recipe).data)
"""Recipes for data of the user's own."""
PROMISED = ("autoformer", "cnn-bilstm", "ensemble", "informer", "lightgbm", "tft")
TARGETS = {
    "ai4i-failure": ("ai4i", "failure"),
    "ai4i-fault": ("ai4i", "fault"),
    "elevator-vibration": ("elevator", "sensor"),
    "etth1-autoformer": ("etth1", "sensor"),
    "etth1-informer": ("etth1", "sensor"),
    "metropt2-failure": ("metropt", "failure"),
    "metropt3-failure": ("metropt", "failure"),
}
"""Recipes whose target is not the RUL: data set and kind of target."""
WHOLE = [name for name in recipe_names() if name not in PLAIN]


def test_the_promised_recipes_are_there():
    promised = {f"cmapss-fd00{n}-{model}" for n in (1, 2, 3, 4) for model in PROMISED}
    promised |= {f"simulated-{model}" for model in PROMISED if model != "ensemble"} | set(PROMISED) | set(TARGETS)
    assert promised <= set(recipe_names())


@pytest.mark.parametrize("name", WHOLE)
def test_every_recipe_parses_and_what_show_prints_parses_to_the_same(name: str, tmp_path: Path):
    experiment = load_experiment(name)
    assert experiment.name == name
    (tmp_path / "shown.yaml").write_text(to_yaml(experiment))
    assert parse(type(experiment), load(tmp_path / "shown.yaml")) == experiment


@pytest.mark.parametrize("name", WHOLE)
def test_a_recipe_is_what_its_name_says(name: str):
    experiment = load_experiment(name)
    if experiment.target.kind != "rul":
        assert TARGETS.get(name, (name.split("-", maxsplit=1)[0], name.split("-")[1])) == (
            experiment.dataset.kind,
            experiment.target.kind,
        )
        return
    model = "ensemble" if isinstance(experiment, Ensemble) else experiment.backbone.kind.replace("_", "-")
    assert name.endswith(model)
    source = name.removesuffix(f"-{model}")
    assert experiment.dataset.name.lower().replace("/", "-") == source


@pytest.mark.parametrize("name", PLAIN)
def test_a_recipe_without_data_takes_yours(name: str):
    with pytest.raises(ConfigError, match="names no data set"):
        load_experiment(name)
    assert load_experiment(name, dataset=("--source simulated", {"kind": "simulated"})).dataset.kind == "simulated"
    assert load_experiment(name, ["dataset.kind=simulated"]).name == name


def test_every_recipe_has_a_summary():
    assert all(len(summary) > 10 for _, summary in recipe_summaries())


def test_the_command_line_lays_data_seed_and_settings_over_a_recipe():
    experiment = load_experiment(
        "simulated-lightgbm", ["window.context_length=7"], dataset=("here", {"kind": "cmapss"}), seed=5
    )
    assert (experiment.dataset.kind, experiment.seed, experiment.window.context_length) == ("cmapss", 5, 7)


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="did you mean 'simulated-tft'"):
        find_recipe("simulatd-tft")
    with pytest.raises(ConfigError, match="lists them"):
        find_recipe("zzz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("extends: simulated-tft\nname: mine\n")
    with pytest.raises(ConfigError, match=r"write \./mine"):
        load_experiment("mine")
    assert load_experiment("./mine").name == "mine"
    assert load_experiment(Path("mine")).name == "mine"


def test_check(run: Run, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: simulated-cnn-bilstm\nname: mine\nbackbone:\n  hiden: 3\n")
    ran = run("config", "check", path)
    assert ran.code == 2
    assert ran.err == f"error: {path}:4: unknown key backbone.hiden (did you mean 'hidden'?)\n"
    path.write_text("extends: simulated-cnn-bilstm\nname: mine\n")
    good = run("config", "check", path)
    assert (good.code, good.out) == (0, "")
    assert "mine" in good.err
    wrong = run("config", "check", path, "--set", "backbone.hiden=3")
    assert "--set backbone.hiden=3: unknown key backbone.hiden (did you mean 'hidden'?)" in wrong.err


def test_show_as_yaml_and_json(run: Run):
    shown = run("config", "show", "cmapss-fd003-tft", "--set", "seed=4", "--set", "backbone.d_model=8")
    assert shown.code == 0
    assert "subset: FD003" in shown.out
    assert "d_model: 8" in shown.out
    as_json = run("config", "show", "cmapss-fd003-tft", "--set", "seed=4", "--json")
    assert json.loads(as_json.out)["seed"] == 4


def test_schema_and_recipes(run: Run):
    schema = json.loads(run("config", "schema").out)
    assert {"extends", "backbone", "dataset"} <= set(schema["$defs"]["Experiment"]["properties"])
    assert {"extends", "members", "combine"} <= set(schema["$defs"]["Ensemble"]["properties"])
    assert "Peak of the schedule." in json.dumps(schema)
    listed = json.loads(run("config", "recipes", "--json").out)
    assert [entry["name"] for entry in listed] == list(recipe_names())
    assert "simulated-cnn-bilstm" in run("config", "recipes").out
