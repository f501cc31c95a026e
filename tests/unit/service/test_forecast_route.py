"""`POST /v1/forecast`: the same numbers as `wearcast predict`, in whatever form they are asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.fixtures.bundles import Trained, TrainedByKind, TrainedEnsemble
from tests.fixtures.deployments import ScriptedRegistry, scaled_bundle
from tests.fixtures.experiments import make_experiment
from tests.fixtures.forecast_service import Answering, answering, arrow_of, json_of
from tests.fixtures.targets import TARGETS, make_answered_fleet, make_target_experiment

from wearcast import Experiment, train
from wearcast.service.deployment import Deployment
from wearcast.service.openapi import ARROW
from wearcast.service.outside import Outside, Patience
from wearcast.service.schemas import ForecastAnswer, ForecastRequest, Models
from wearcast.service.settings import ModelsSettings

EXTRA = ["version", "arm"]


@pytest.fixture(scope="module")
def served(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Answering, Trained]]:
    """A service of the small CNN-BiLSTM."""
    one = trained("cnn_bilstm")
    with answering(one.path, tmp_path_factory.mktemp("state")) as service:
        yield service, one


def frame_of(answer: Any) -> pl.DataFrame:
    """Rows of an answer as `to_frame` has them."""
    assert answer.status_code == 200, answer.text
    table = pl.DataFrame(answer.json()["forecasts"], infer_schema_length=None)
    return table.with_columns(pl.col("flags").cast(pl.List(pl.String)).list.join(";")).drop(EXTRA)


def check_same(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """Names, order, and numbers to the last bit that JSON keeps; float32 values travel as such."""
    assert found.columns == wanted.columns
    assert found.height == wanted.height
    for name in wanted.columns:
        if wanted[name].dtype.is_float():
            np.testing.assert_allclose(found[name].to_numpy(), wanted[name].to_numpy(), rtol=1e-5, atol=1e-6)
        elif wanted[name].dtype == pl.Datetime:
            assert _moments(found[name]) == _moments(wanted[name]), name
        else:
            assert found[name].cast(pl.String).to_list() == wanted[name].cast(pl.String).to_list(), name


def _moments(times: pl.Series) -> list[Any]:
    """In UTC: JSON says so by a Z."""
    if times.dtype == pl.String:
        assert times.str.ends_with("Z").all()
        times = times.str.to_datetime(time_zone="UTC")
    return times.dt.replace_time_zone(None).cast(pl.Datetime("us")).to_list()


@pytest.mark.parametrize("every", [None, 7])
def test_json_says_what_predict_says(served: tuple[Answering, Trained], every: int | None) -> None:
    service, one = served
    body = json_of(one.fleet, one.bundle.columns) | {"every": every}
    check_same(frame_of(service.forecast(body)), one.bundle.predict(one.fleet, every=every).to_frame())


@pytest.mark.parametrize("every", [None, 7])
def test_arrow_says_what_predict_says(served: tuple[Answering, Trained], every: int | None) -> None:
    service, one = served
    body, headers = arrow_of(one.fleet.frame.select("unit", "time", *one.bundle.columns))
    query = f"?every={every}" if every else ""
    answer = service.client.post(f"/v1/forecast{query}", content=body, headers={**headers, "accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = pl.read_ipc_stream(io.BytesIO(answer.content))
    check_same(table.drop(EXTRA), one.bundle.predict(one.fleet, every=every).to_frame())


@pytest.mark.parametrize("kind", ["lightgbm", "tft"])
def test_other_backbones_and_covariates(trained: TrainedByKind, tmp_path: Path, kind: str) -> None:
    one = trained(kind)
    statics = [name for name in ("power", "site") if name in one.bundle.columns]
    with answering(one.path, tmp_path) as service:
        answer = service.forecast(json_of(one.fleet, one.bundle.columns, statics))
        check_same(frame_of(answer), one.bundle.predict(one.fleet).to_frame())
        body, headers = arrow_of(one.fleet.frame.select("unit", "time", *one.bundle.columns))
        check_same(frame_of(service.forecast(body, **headers)), one.bundle.predict(one.fleet).to_frame())


def test_an_ensemble_answers(ensemble: TrainedEnsemble, tmp_path: Path) -> None:
    with answering(ensemble.bundle.path, tmp_path) as service:
        answer = service.forecast(json_of(ensemble.fleet, ensemble.bundle.columns))
        check_same(frame_of(answer), ensemble.bundle.predict(ensemble.fleet).to_frame())


@pytest.mark.parametrize("clock", [False, True], ids=["cycles", "clock"])
@pytest.mark.parametrize("target", [*TARGETS, "rul"])
def test_every_target_says_what_predict_says(target: str, clock: bool, tmp_path: Path) -> None:
    """As JSON and as Arrow, by cycles and by the clock; trees train in a moment."""
    fleet = make_answered_fleet(units=8, clock=clock)
    bundle = train(_experiment(target), fleet, out=tmp_path / target)
    table = fleet.frame.select("unit", "time", *bundle.columns)
    with answering(bundle.path, tmp_path) as service:
        for every in (None, 9):
            wanted = bundle.predict(fleet, every=every).to_frame()
            check_same(frame_of(service.forecast(json_of(fleet, bundle.columns) | {"every": every})), wanted)
            body, headers = arrow_of(table)
            query = f"?every={every}" if every else ""
            answer = service.client.post(f"/v1/forecast{query}", content=body, headers={**headers, "accept": ARROW})
            check_same(pl.read_ipc_stream(io.BytesIO(answer.content)).drop(EXTRA), wanted)


def _experiment(target: str) -> Experiment:
    kind = "persistence" if target == "sensor" else "lightgbm"
    return make_experiment(kind) if target == "rul" else make_target_experiment(target, kind, epochs=3)


def test_what_was_forecast_is_known(served: tuple[Answering, Trained]) -> None:
    """Another reading, unit or step is another forecast; other white space is not."""
    service, one = served
    body = json_of(one.fleet.select([1, 2]), one.bundle.columns)
    body["units"][0]["unit"], body["units"][1]["unit"] = "known-1", "known-2"
    first = service.forecast(body).json()
    again = service.forecast(body).json()
    assert (first["cached"], again["cached"]) == (0, 2)
    assert first["forecasts"] == again["forecasts"]
    body["units"][0]["columns"]["s0"][-1] += 0.5
    assert service.forecast(body).json()["cached"] == 1
    assert service.forecast(body | {"every": 39}).json()["cached"] == 0


def test_missing_readings_are_flagged(served: tuple[Answering, Trained]) -> None:
    service, one = served
    body = json_of(one.fleet.select([3]), one.bundle.columns)
    body["units"][0]["columns"]["s1"][-1] = None
    assert "missing_readings" in service.forecast(body).json()["forecasts"][0]["flags"]


def test_a_column_that_makes_no_difference_may_come(served: tuple[Answering, Trained]) -> None:
    service, one = served
    layout = service.service.scorer.layouts.of(service.service.deployment.champion())
    body = json_of(one.fleet.select([3]), one.bundle.columns)
    for name in layout.ignored:
        body["units"][0]["columns"][name] = [0.0] * len(body["units"][0]["time"])
    assert service.forecast(body).status_code == 200


def test_formats_that_are_not_spoken(served: tuple[Answering, Trained]) -> None:
    service, one = served
    body = json_of(one.fleet.select([1]), one.bundle.columns)
    for headers, status in (
        ({"content-type": "text/csv"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"accept": "text/html"}, 406),
        ({"accept": "text/html, */*;q=0.1"}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ):
        answer = service.forecast(body, **headers)
        assert answer.status_code == status, headers


def test_models_say_what_they_read(served: tuple[Answering, Trained]) -> None:
    service, one = served
    answer = Models.model_validate_json(service.client.get("/v1/models").content)
    (model,) = answer.models
    assert model.columns == list(one.bundle.columns)
    assert (model.target, model.time, model.arm, model.context) == ("rul", "cycle", "fixed", 16)
    assert service.client.get(f"/v1/models/{model.name}").json()["models"][0]["key"] == model.key
    missing = service.client.get("/v1/models/pumps")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/unknown-model")


def test_the_examples_are_of_the_schema(served: tuple[Answering, Trained]) -> None:
    """What a client is told in the document is what it gets."""
    service, one = served
    for example in ForecastRequest.model_config["json_schema_extra"]["examples"]:  # type: ignore[index]
        ForecastRequest.model_validate(example)
    body = json_of(one.fleet.select([1]), one.bundle.columns)
    ForecastRequest.model_validate(body)
    assert len(ForecastAnswer.model_validate_json(service.forecast(body).content).forecasts) == 1
    for example in ForecastAnswer.model_config["json_schema_extra"]["examples"]:  # type: ignore[index]
        ForecastAnswer.model_validate(example)


# ------------------------------------------------------------------ two models


@pytest.fixture
def split(trained: TrainedByKind, tmp_path: Path) -> Iterator[tuple[Answering, Trained]]:
    """Half of the units are answered by a challenger whose RUL is three times as long."""
    one = trained("cnn_bilstm")
    folders = {"1": one.path, "2": scaled_bundle(one.path, tmp_path / "v2", 3.0)}
    registry = ScriptedRegistry(folders, {"champion": "1", "challenger": "2"})
    settings = ModelsSettings(reference="pumps@champion", cache_dir=tmp_path / "cache", challenger_share=0.5)
    outside = Outside("registry", Patience(attempts=1))
    with answering(one.path, tmp_path, deployment=Deployment(settings, registry=registry, outside=outside)) as service:
        yield service, one


def test_each_unit_has_its_model(split: tuple[Answering, Trained]) -> None:
    """In one request two models answer, each forecast names its own, and a unit always has the same."""
    service, one = split
    history = json_of(one.fleet.select([1]), one.bundle.columns)["units"][0]
    body = {"units": [history | {"unit": f"pump-{i}"} for i in range(20)]}
    answer = service.forecast(body).json()
    assert answer["model"] is None
    rows = answer["forecasts"]
    assert [row["unit"] for row in rows] == [f"pump-{i}" for i in range(20)]
    rul = {row["arm"]: row["rul"] for row in rows}
    assert rul["challenger"] == pytest.approx(3 * rul["champion"])
    for row in rows:
        assert row["version"] == {"champion": "pumps/1", "challenger": "pumps/2"}[row["arm"]]
        assert row["rul"] == rul[row["arm"]]
        alone = service.forecast({"units": [history | {"unit": row["unit"]}]}).json()
        assert alone["model"]["arm"] == row["arm"]
        assert alone["forecasts"] == [row]
    headers = {"content-type": "application/json", "accept": ARROW}
    table = pl.read_ipc_stream(io.BytesIO(service.forecast(body, **headers).content))
    assert table["arm"].to_list() == [row["arm"] for row in rows]
    assert table["rul"].to_list() == [row["rul"] for row in rows]


def test_a_model_can_be_named(split: tuple[Answering, Trained]) -> None:
    service, one = split
    body = json_of(one.fleet.select([1]), one.bundle.columns)
    answer = service.forecast(body | {"model": "pumps@challenger"}).json()
    assert answer["model"] == {"name": "pumps", "version": "2", "arm": "challenger"}
    missing = service.forecast(body | {"model": "pumps@best"})
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/unknown-model")
    assert "pumps@champion" in missing.json()["errors"][0]["hint"]
