"""train, evaluate, predict, compare and demo, on models that take a second."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.unit.cli.conftest import SMALL, Run, write_pumps

from wearcast.bundle import load_bundle
from wearcast.cli import demo as demo_module
from wearcast.cli.output import finite, print_table
from wearcast.evaluation import Evaluation

EVALUATE_KEYS = {"bundle", "dataset", "split", "target", "n_units", "n_windows", "seed", "metrics"}
METRICS = {
    "rmse_capped", "rmse", "mae_capped", "nasa_score_capped", "nasa_score", "coverage_90", "width_90", "crps",
    "relative_accuracy", "alpha_lambda", "horizon_first_hit", "horizon_sustained", "worst_unit",
}  # fmt: skip
COLUMNS = [
    "unit", "time", "rul", "rul_q05", "rul_q25", "rul_q50", "rul_q75", "rul_q95", "failure_probability_10",
    "failure_probability_30", "failure_probability_60", "flags", "model",
]  # fmt: skip


def table(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text))


# ------------------------------------------------------------------ train


def test_train_refuses_to_take_the_place_of_a_bundle(run: Run, bundle: Path):
    before = (bundle / "SHA256SUMS").read_bytes()
    ran = run("train", "simulated-lightgbm", "--out", bundle)
    assert ran.code == 4
    assert "--force" in ran.err
    assert (bundle / "SHA256SUMS").read_bytes() == before


def test_a_folder_that_is_no_bundle_is_spared(run: Run, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    for place, say in (("photos", "something else"), ("photos/a.jpg", "this is a file")):
        ran = run("train", "simulated-lightgbm", "--out", tmp_path / place, "--force")
        assert ran.code == 2
        assert say in ran.err
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"x"


def test_train_says_where_the_bundle_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = [word for text in (*SMALL, "dataset.units=8", "dataset.typical_life=40") for word in ("--set", text)]
    words = ("train", "simulated-lightgbm", "--seed", "3", *settings, "--no-progress")
    ran = run(*words)
    assert ran.code == 0, ran.err
    assert "validation_rmse_capped" in ran.out
    assert "runs/simulated-lightgbm-seed3" in ran.err
    again = run(*words, "--force", "--json")
    told = json.loads(again.out)
    assert (told["bundle"], told["seed"], told["name"]) == ("runs/simulated-lightgbm-seed3", 3, "simulated-lightgbm")
    assert load_bundle(told["bundle"]).manifest.seed == 3


@pytest.mark.parametrize(
    ("words", "say"),
    [
        (("lightgbm",), "names no data set"),
        (("lightgbm", "--unit", "pump"), "--source FILE"),
        (("simulated-lightgmb",), "did you mean 'simulated-lightgbm'"),
        (("simulated-lightgbm", "--set", "backbone.n_tres=3"), "did you mean 'n_trees'"),
    ],
)
def test_train_answers_wrong_words_before_it_starts(words: tuple[str, ...], say: str, run: Run):
    ran = run("train", *words)
    assert ran.code == 2
    assert say in ran.err


def test_the_mapping_is_in_the_bundle(pumps: Path):
    record = load_bundle(pumps).manifest.experiment["dataset"]
    assert record["mapping"]["unit"] == "pump"
    assert record["mapping"]["sensors"] == ["s0", "s1", "s2"]


# ------------------------------------------------------------------ evaluate


def test_evaluate_prints_one_object_and_writes_the_report(run: Run, bundle: Path, tmp_path: Path):
    page = tmp_path / "deep" / "page.html"
    ran = run("evaluate", bundle, "--json", "--report", page)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert set(told) >= EVALUATE_KEYS
    assert set(told["metrics"]) >= METRICS
    assert told["n_units"] == 4
    assert "</html>" in page.read_text()
    assert pl.read_csv(page.with_suffix(".csv")).columns == COLUMNS


def test_evaluate_as_a_table_without_files(run: Run, bundle: Path):
    before = sorted(path.name for path in bundle.iterdir())
    ran = run("evaluate", bundle, "--no-report")
    assert "rmse_capped" in ran.out
    assert "simulated" in ran.err
    assert sorted(path.name for path in bundle.iterdir()) == before


def test_evaluate_on_bad_data_too(run: Run, bundle: Path):
    plain = json.loads(run("evaluate", bundle, "--no-report", "--json").out)
    found = json.loads(run("evaluate", bundle, "--robustness", "--no-report", "--json").out)
    borne = found.pop("robustness")
    assert found == plain
    assert borne["undisturbed"] == pytest.approx(plain["metrics"][borne["metric"]])
    assert {case["disturbance"] for case in borne["cases"]} >= {"missing", "stuck", "noise", "history"}
    assert "share of the sensors" in run("evaluate", bundle, "--robustness", "--no-report").out


def test_evaluate_without_truth_says_so_and_still_writes_the_forecasts(run: Run, pumps: Path, tmp_path: Path):
    source = write_pumps(tmp_path, units=3, seed=5)
    page = tmp_path / "report.html"
    words = ("--source", source, "--end-of-life", "censored", "--report", page, "--json")
    ran = run("evaluate", pumps, *words)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["truth"] == "unknown"
    assert told["metrics"]["rmse_capped"] is None
    assert "nothing is scored" in ran.err
    assert page.exists()
    assert pl.read_csv(tmp_path / "forecast.csv").height == 3


def test_evaluate_own_files_with_their_own_failures(run: Run, pumps: Path, tmp_path: Path):
    source = write_pumps(tmp_path, units=3, seed=5)
    ran = run("evaluate", pumps, "--source", source, "--failures", tmp_path / "failures.csv", "--no-report", "--json")
    told = json.loads(ran.out)
    assert (told["truth"], told["split"], told["n_units"]) == ("known", "all", 3)


def test_evaluate_on_the_training_data_warns(run: Run, pumps: Path):
    ran = run("evaluate", pumps, "--split", "train", "--no-report")
    assert "was trained on" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "say"),
    [
        (("--split", "tset"), 2, "no such split"),
        (("--source", "absent.csv"), 3, "absent.csv"),
        (("--unit", "x"), 2, "--source FILE"),
        (("--report", "page.pdf"), 2, ".html"),
    ],
)
def test_evaluate_answers_wrong_words(words: tuple[str, ...], code: int, say: str, run: Run, bundle: Path):
    ran = run("evaluate", bundle, *words)
    assert ran.code == code
    assert say in ran.err


def test_a_missing_bundle(run: Run, tmp_path: Path):
    ran = run("evaluate", tmp_path)
    assert ran.code == 4
    assert "there is no bundle here" in ran.err


# ------------------------------------------------------------------ predict


def test_predict_writes_csv_to_stdout(run: Run, bundle: Path):
    ran = run("predict", bundle, "simulated")
    assert ran.code == 0, ran.err
    rows = table(ran.out)
    assert rows.columns == COLUMNS
    assert rows.height == 4
    assert "simulated" in ran.err


def test_predict_and_evaluate_need_no_torch(bundle: Path):
    code = (
        "import sys\nfrom wearcast.cli import main\n"
        f"assert main(['predict', {str(bundle)!r}, 'simulated']) == 0\n"
        f"assert main(['evaluate', {str(bundle)!r}, '--no-report', '--json']) == 0\n"
        "heavy = {'torch', 'lightning', 'lightgbm', 'matplotlib', 'pandas', 'pyarrow', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == "[]"


def test_predict_formats_follow_the_name_and_agree(run: Run, bundle: Path, tmp_path: Path):
    expected = table(run("predict", bundle, "simulated", "--every", "5").out)
    for name, read in (("f.csv", pl.read_csv), ("f.parquet", pl.read_parquet), ("f.json", pl.read_json)):
        path = tmp_path / "new" / name
        ran = run("predict", bundle, "simulated", "--every", "5", "--out", path)
        assert (ran.code, ran.out) == (0, "")
        found = read(path)
        assert found.columns == COLUMNS
        assert found["rul_q50"].to_list() == pytest.approx(expected["rul_q50"].to_list())
    assert expected.height > 4
    as_json = run("predict", bundle, "simulated", "--format", "json")
    assert list(json.loads(as_json.out)[0]) == COLUMNS


def test_predict_reads_files_as_the_bundle_was_trained(run: Run, pumps: Path, tmp_path: Path):
    """No flags, and no table of failures: new machines are still running."""
    source = write_pumps(tmp_path / "a", units=2, seed=7)
    (tmp_path / "a" / "failures.csv").unlink()
    ran = run("predict", pumps, source)
    assert ran.code == 0, ran.err
    assert table(ran.out).height == 2


def test_predict_with_flags_over_the_stored_mapping(run: Run, pumps: Path, tmp_path: Path):
    source = write_pumps(tmp_path, units=2, seed=7)
    pl.read_csv(source).rename({"pump": "asset"}).write_csv(source)
    wrong = run("predict", pumps, source)
    assert wrong.code == 3
    assert "'pump'" in wrong.err
    assert table(run("predict", pumps, source, "--unit", "asset").out).height == 2


def test_predict_several_sources_says_which_row_is_whose(run: Run, pumps: Path, tmp_path: Path):
    one, two = (write_pumps(tmp_path / name, units=2, seed=seed) for name, seed in (("a", 1), ("b", 2)))
    pl.read_csv(two).with_columns(pump=pl.format("P{}", "pump")).write_csv(two)
    rows = table(run("predict", pumps, one, two).out)
    assert rows["unit"].to_list() == ["1", "2", "P1", "P2"]
    assert rows["source"].to_list() == [str(one)] * 2 + [str(two)] * 2


@pytest.mark.parametrize(
    ("words", "say"),
    [
        (("--out", "x.xlsx"), "does not say the format"),
        (("--out", "x"), "no suffix"),
        (("--format", "parquet"), "--out FILE"),
        (("--sensors", "a"), "knows its columns"),
    ],
)
def test_predict_answers_wrong_words(words: tuple[str, ...], say: str, run: Run, bundle: Path):
    ran = run("predict", bundle, "simulated", *words)
    assert ran.code == 2
    assert ran.out == ""
    assert say in ran.err


# ------------------------------------------------------------------ compare


def test_compare_groups_seeds_and_says_what_differs(run: Run, bundle: Path):
    told = json.loads(run("compare", bundle, bundle, "--json").out)
    (group,) = told["groups"]
    assert (group["recipe"], group["n"]) == ("simulated-lightgbm", 2)
    assert group["metrics"]["rmse_capped"]["sd"] == 0.0
    shown = run("compare", bundle)
    assert (shown.code, "mean ± sd" in shown.out) == (0, True)


# ------------------------------------------------------------------ demo


def test_demo_goes_end_to_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_module, "RECIPE", "simulated-lightgbm")
    out = tmp_path / "demo"
    small = (*SMALL, "dataset.units=8", "dataset.test_units=4", "dataset.typical_life=40")
    words = ("demo", "--out", out, *(word for text in small for word in ("--set", text)), "--no-progress")
    ran = run(*words)
    assert ran.code == 0, ran.err
    assert (out / "report.html").exists()
    assert pl.read_csv(out / "forecast.csv").height == 4
    assert str((out / "report.html").resolve()) in ran.out.replace("\n", "")
    assert "three units to look at first" in ran.out
    assert f"wearcast predict {out / 'bundle'}" in ran.out
    assert run(*words).code == 0, "a second demo takes the place of the first"


def test_the_first_units_are_those_that_may_fail_soonest(bundle: Path):
    from wearcast.cli.evaluate import evaluate_bundle
    from wearcast.cli.options import MappingFlags

    evaluation = evaluate_bundle(load_bundle(bundle), None, MappingFlags(), None)
    assert isinstance(evaluation, Evaluation)
    columns, rows = demo_module.first_to_look_at(evaluation)
    last = evaluation.forecast.select(evaluation.last)
    lowest = last.distribution.quantile(0.05).argsort(kind="stable")[:3]
    assert [row[0] for row in rows] == [last.unit[int(i)] for i in lowest]
    assert columns[0] == "unit"


# ------------------------------------------------------------------ output


def test_json_has_no_nan():
    assert finite({"a": float("nan"), 1: [float("inf"), 2.0], "t": (1,)}) == {"a": None, "1": [None, 2.0], "t": [1]}


def test_a_table_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]):
    print_table("t", ["[red]", "n"], [["[bold]x", 1.5]])
    out = capsys.readouterr().out
    assert "[bold]x" in out
    assert "1.5" in out
