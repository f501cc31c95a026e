"""Promotion through the gate, the way back, and two at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.registries import NAME, altered

from wearcast import Bundle
from wearcast.errors import RegistryError, RegistryUnavailableError, UsageError
from wearcast.evaluation import evaluate
from wearcast.registry.gate import Measured, Verdict, held_out, judge, measured_on
from wearcast.registry.moves import Alone, Move, alone, earlier, moves_of
from wearcast.registry.promotion import Moved, promote, rollback, weigh
from wearcast.registry.reading import open_store
from wearcast.registry.store import Store
from wearcast.registry.tags import LOCK, MOVE


def put(store: Store, cache: Path, number: str, **options: Any) -> Moved:
    version = store.version(NAME, number)
    return promote(store, version, weigh(store, version, cache=cache, tolerance=10.0), who="ann", **options)


def champion(store: Store) -> str | None:
    return store.model(NAME).aliases.get("champion")


# ---------------------------------------------------------------------- the gate


def checks(candidate: Bundle, champion: Bundle | None, measured: Measured, **options: Any) -> dict[str, bool | None]:
    verdict = judge(candidate, champion, measured, names=("pumps/2", "pumps/1" if champion else None), **options)
    assert verdict.passed == (not any(check.passed is False for check in verdict.checks))
    return {check.name: check.passed for check in verdict.checks}


def figures(rmse: float = 10.0, crps: float = 6.0, coverage: float = 0.9) -> dict[str, float]:
    return {"rmse_capped": rmse, "crps": crps, "coverage_90": coverage}


def test_the_first_version_has_no_champion_to_be_held_against(trained: TrainedByKind):
    found = checks(trained("lightgbm").bundle, None, Measured("x", figures(), {}))
    assert found == {"whole": True, "parity": True, "coverage": True}


def test_a_figure_may_be_worse_by_the_tolerance_only(trained: TrainedByKind):
    both = trained("lightgbm").bundle, trained("cnn_bilstm").bundle
    assert all(checks(*both, Measured("x", figures(10.2, 6.12), figures())).values())
    assert checks(*both, Measured("x", figures(10.21), figures()))["rmse_capped"] is False
    assert checks(*both, Measured("x", figures(crps=6.13), figures()))["crps"] is False
    assert checks(*both, Measured("x", figures(11.0), figures()), tolerance=0.1)["rmse_capped"] is True
    assert checks(*both, Measured("x", figures(1.0, 1.0), figures()))["rmse_capped"] is True


def test_a_main_figure_that_is_not_known_does_not_pass(trained: TrainedByKind):
    both = trained("lightgbm").bundle, trained("cnn_bilstm").bundle
    found = checks(*both, Measured("x", {}, figures()))
    assert (found["rmse_capped"], found["crps"], found["coverage"]) == (False, None, None)


@pytest.mark.parametrize(("share", "passed"), [(0.79, False), (0.8, True), (0.99, True), (1.0, False)])
def test_coverage_must_lie_in_a_band(trained: TrainedByKind, share: float, passed: bool):
    found = checks(trained("lightgbm").bundle, None, Measured("x", figures(coverage=share), {}))
    assert found["coverage"] is passed


def test_a_set_that_one_of_them_learnt_from_does_not_pass(trained: TrainedByKind):
    one = trained("lightgbm")
    evaluation = evaluate(one.bundle, one.fleet)
    measured = measured_on("train.csv", evaluation, None)
    assert checks(one.bundle, None, measured)["unseen"] is False


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"target": {"max_rul": 99.0}}, "target", "max_rul 99.0 instead of 30.0"),
        ({"target": {"horizons": [7.0]}}, "target", "horizons (7.0,) instead of"),
        ({"preprocessing": {"time_unit": "hour"}}, "target", "unit of time hour instead of cycle"),
        ({"parity": {"max_abs_difference": 0.5}}, "parity", "differs from the trained model by 0.5"),
    ],
)
def test_what_would_break_a_promise_is_named(
    trained: TrainedByKind, tmp_path: Path, change: dict[str, dict[str, Any]], check: str, said: str
):
    def apply(manifest: dict[str, Any]) -> None:
        for part, values in change.items():
            manifest[part] |= values

    other = altered(trained("lightgbm").bundle, tmp_path / "other", apply)
    verdict = judge(other, trained("cnn_bilstm").bundle, Measured("x", figures(), figures()), names=("a/2", "a/1"))
    assert [one.name for one in verdict.failed] == [check]
    assert said in verdict.failed[0].said


def test_a_further_column_does_not_pass(trained: TrainedByKind, tmp_path: Path):
    def without_one(manifest: dict[str, Any]) -> None:
        kept = [one for one in manifest["preprocessing"]["sensors"] if one["column"] != "s1"]
        manifest["preprocessing"]["sensors"] = kept

    narrow = altered(trained("cnn_bilstm").bundle, tmp_path / "narrow", without_one)
    wide = trained("lightgbm").bundle
    both = Measured("x", figures(), figures())
    verdict = judge(wide, narrow, both, names=("a/2", "a/1"))
    assert [(check.name, check.said) for check in verdict.failed] == [
        ("columns", "needs s1, which the champion does without")
    ]
    assert judge(narrow, wide, both, names=("a/2", "a/1")).passed


def test_held_out_figures_of_other_data_are_not_compared(trained: TrainedByKind, tmp_path: Path):
    def other_data(manifest: dict[str, Any]) -> None:
        manifest["data"] |= {"fingerprint": "f" * 64, "name": "elsewhere"}

    other = altered(trained("cnn_bilstm").bundle, tmp_path / "other", other_data)
    with pytest.raises(RegistryError, match="--on SOURCE"):
        held_out(trained("lightgbm").bundle, other)


# ---------------------------------------------------------------------- promotion


def test_the_gate_lets_the_better_one_through_and_not_the_worse(store: Store, tmp_path: Path):
    first = store.version(NAME, "1")
    verdict = weigh(store, first, cache=tmp_path)
    assert verdict.champion is None
    moved = promote(store, first, verdict, who="ann")
    assert (moved.before, champion(store)) == (None, "1")
    second = store.version(NAME, "2")
    own = weigh(store, second, cache=tmp_path)
    assert own.champion == "pumps/1"
    assert {"rmse_capped", "crps", "target", "columns"} <= {check.name for check in own.checks}
    strict = weigh(store, second, cache=tmp_path, band=(0.999, 1.0))
    with pytest.raises(RegistryError, match=r"the gate says no: .*coverage") as caught:
        promote(store, second, strict)
    assert "--override" in str(caught.value)
    assert champion(store) == "1"


def test_both_are_measured_alike_on_a_named_set(store: Store, trained: TrainedByKind, tmp_path: Path):
    put(store, tmp_path, "1")
    measured: list[str] = []

    def measure(bundle: Bundle) -> Any:
        measured.append(bundle.manifest.name)
        return evaluate(bundle, trained("lightgbm").fleet)

    verdict = weigh(store, store.version(NAME, "2"), cache=tmp_path, on="all.csv", measure=measure)
    assert measured == ["test-lightgbm", "test-cnn-bilstm"]
    assert verdict.on == "all.csv"
    assert [check.name for check in verdict.failed if check.name == "unseen"] == ["unseen"]


def test_an_override_is_recorded_with_its_reason(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    version = store.version(NAME, "2")
    verdict = weigh(store, version, cache=tmp_path, band=(0.999, 1.0))
    with pytest.raises(UsageError, match="needs words"):
        promote(store, version, verdict, override="  ")
    with pytest.raises(UsageError, match="1001 characters"):
        promote(store, version, verdict, override="x" * 1001)
    promote(store, version, verdict, override="agreed with\noperations", who="bob")
    last = moves_of(store.model(NAME))[-1]
    assert (last.who, last.reason, last.before, last.after) == ("bob", "agreed with operations", "1", "2")
    assert last.gate is not None
    assert (last.gate["passed"], list(last.gate["failed"])) == (False, ["coverage"])
    tags = store.version(NAME, "2").tags
    assert tags["wearcast.override"] == "agreed with operations"
    assert json.loads(tags["wearcast.gate"])["passed"] is False


def test_a_promotion_that_changes_nothing_is_no_move(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    assert put(store, tmp_path, "1").move is None
    assert len(moves_of(store.model(NAME))) == 1


def test_the_gate_must_have_been_asked_about_the_champion_of_now(store: Store, tmp_path: Path):
    version = store.version(NAME, "2")
    verdict = weigh(store, version, cache=tmp_path)
    put(store, tmp_path, "1")
    with pytest.raises(RegistryError, match=r"the champion is version 1 now.*promote again"):
        promote(store, version, verdict)
    assert champion(store) == "1"


def test_a_champion_whose_files_are_gone_can_be_replaced_with_a_reason(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    (Path(store.version(NAME, "1").source.removeprefix("file://")) / "bundle" / "model.onnx").unlink()
    version = store.version(NAME, "2")
    verdict = weigh(store, version, cache=tmp_path)
    assert [check.name for check in verdict.failed] == ["champion"]
    promote(store, version, verdict, override="the files of version 1 are lost")
    assert champion(store) == "2"


def test_a_candidate_that_is_not_whole_is_never_promoted(store: Store, tmp_path: Path):
    (Path(store.version(NAME, "2").source.removeprefix("file://")) / "bundle" / "model.onnx").unlink()
    with pytest.raises(RegistryError, match="not whole"):
        weigh(store, store.version(NAME, "2"), cache=tmp_path)


@pytest.mark.parametrize("alias", ["latest", "prod", "", "v1"])
def test_only_two_aliases_are_moved(store: Store, tmp_path: Path, alias: str):
    with pytest.raises(UsageError, match="champion, challenger"):
        put(store, tmp_path, "1", alias=alias)
    with pytest.raises(UsageError, match="champion, challenger"):
        rollback(store, NAME, cache=tmp_path, alias=alias)


# ---------------------------------------------------------------------- the way back


def test_rollback_goes_back_step_by_step(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    put(store, tmp_path, "2")
    moved = rollback(store, NAME, cache=tmp_path, who="ann", reason="false alarms")
    assert (moved.version.version, moved.before, champion(store)) == ("1", "2", "1")
    last = moves_of(store.model(NAME))[-1]
    assert (last.action, last.reason, last.state) == ("rollback", "false alarms", "done")
    with pytest.raises(RegistryError, match="version 1 is the first champion: there is none to go back to"):
        rollback(store, NAME, cache=tmp_path)
    put(store, tmp_path, "2")
    assert rollback(store, NAME, cache=tmp_path).version.version == "1"


def test_rollback_of_an_alias_that_was_never_set(store: Store, tmp_path: Path):
    with pytest.raises(RegistryError, match="champion was never set"):
        rollback(store, NAME, cache=tmp_path)
    with pytest.raises(RegistryError, match="no model is registered"):
        rollback(store, "plumps", cache=tmp_path)


def test_rollback_to_a_version_that_is_not_whole_is_refused(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    put(store, tmp_path, "2")
    (Path(store.version(NAME, "1").source.removeprefix("file://")) / "bundle" / "model.onnx").unlink()
    with pytest.raises(RegistryError, match="not whole"):
        rollback(store, NAME, cache=tmp_path)
    assert champion(store) == "2"


def move(after: str, before: str | None, *, action: Any = "promote", state: Any = "done") -> Move:
    return Move(1, "", "ann", "champion", action, before, after, state=state)


@pytest.mark.parametrize(
    ("moves", "current", "back"),
    [
        ([], None, ()),
        ([move("1", None)], "1", ()),
        ([move("1", None), move("2", "1"), move("3", "2")], "3", ("1", "2")),
        ([move("1", None), move("2", "1"), move("1", "2", action="rollback")], "1", ()),
        ([move("1", None), move("2", "1"), move("1", "2", action="rollback"), move("3", "1")], "3", ("1",)),
        ([move("1", None), move("2", "1", state="abandoned")], "1", ()),
        ([move("1", None), move("3", "2")], "3", ("1", "2")),  # somebody had set 2 by hand
        ([move("1", None)], "9", ("1",)),  # somebody has set 9 by hand
    ],
)
def test_what_a_rollback_goes_back_through(moves: list[Move], current: str | None, back: tuple[str, ...]):
    assert earlier(moves, "champion", current) == back
    assert earlier(moves, "challenger", None) == ()


# ---------------------------------------------------------------------- two at once, and a kill


def test_of_two_at_once_each_move_is_whole_and_recorded_once(uri: str, tmp_path: Path):
    put(open_store(uri), tmp_path, "1")
    trouble: list[Exception] = []

    def back_and_forth() -> None:
        store = open_store(uri)
        for _ in range(4):
            try:
                with alone(store, NAME, "ann") as held:
                    now = champion(store)
                    held.move(Move(0, "", "ann", "champion", "promote", now, "2" if now == "1" else "1"))
            except RegistryError as error:
                trouble.append(error)

    threads = [threading.Thread(target=back_and_forth) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(champion(open_store(uri)))
    for thread in threads:
        thread.join()
    assert not trouble
    assert seen <= {"1", "2"}
    model = open_store(uri).model(NAME)
    history = moves_of(model)
    assert [one.number for one in history] == list(range(1, 14))
    assert all(one.state == "done" for one in history)
    assert all(after.before == before.after for before, after in pairwise(history))
    assert not [key for key in model.tags if key.startswith(LOCK)]


def test_who_waits_for_another_gives_up_in_the_end(store: Store):
    with (
        alone(store, NAME, "ann"),
        pytest.raises(RegistryUnavailableError, match="ann is moving"),
        alone(store, NAME, "bob", patience_s=0.1),
    ):
        pass
    with alone(store, NAME, "bob", patience_s=0.1):
        pass


def killed(uri: str, when: str) -> None:
    """A process that is killed by the system while it moves champion to version 2."""
    script = f"""
import os, signal
from wearcast.registry.database import DatabaseStore
from wearcast.registry.moves import Move, alone
class Doomed(DatabaseStore):
    def set_alias(self, *arguments):
        if {when!r} == "after":
            super().set_alias(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
store = Doomed({uri!r})
with alone(store, {NAME!r}, "eve") as held:
    held.move(Move(0, "", "eve", "champion", "promote", "1", "2"))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9


@pytest.mark.parametrize(("when", "now", "state"), [("before", "1", "abandoned"), ("after", "2", "done")])
def test_a_kill_in_the_middle_is_settled_by_the_next_command(uri: str, tmp_path: Path, when: str, now: str, state: str):
    store = open_store(uri)
    put(store, tmp_path, "1")
    killed(uri, when)
    assert champion(store) == now
    assert moves_of(store.model(NAME))[-1].state == "intended"
    began = time.monotonic()
    put(store, tmp_path, "1" if now == "2" else "2")
    assert time.monotonic() - began < 8
    history = moves_of(store.model(NAME))
    assert [one.state for one in history] == ["done", state, "done"]
    assert not [key for key in store.model(NAME).tags if key.startswith(LOCK)]


def test_the_mark_of_another_machine_holds_until_its_lease_is_over(store: Store):
    mark = {"who": "eve", "lease_s": 60.0, "home": "elsewhere", "pid": 1, "started": "1"}
    for age, lives in (("2000-01-01T00:00:00+00:00", False), (None, True)):
        from datetime import UTC, datetime

        store.set_tag(NAME, f"{LOCK}move.x", json.dumps({**mark, "time": age or datetime.now(UTC).isoformat()}))
        if lives:
            with (
                pytest.raises(RegistryUnavailableError, match="eve is moving"),
                alone(store, NAME, "ann", patience_s=0.1),
            ):
                pass
        else:
            with alone(store, NAME, "ann", patience_s=0.1) as held:
                assert isinstance(held, Alone)


def test_who_has_lost_the_turn_moves_nothing(store: Store, tmp_path: Path):
    put(store, tmp_path, "1")
    with alone(store, NAME, "ann") as held:
        store.delete_tag(NAME, held.key)  # another took us for dead
        with pytest.raises(RegistryUnavailableError, match="nothing was moved"):
            held.move(Move(0, "", "ann", "champion", "promote", "1", "2"))
    assert champion(store) == "1"
    assert moves_of(store.model(NAME))[-1].state == "abandoned"


def test_a_history_that_was_changed_by_hand_is_said(store: Store):
    store.set_tag(NAME, f"{MOVE}000001", "{}")
    with pytest.raises(RegistryError, match=r"tag wearcast.move.000001: this entry of the history cannot be read"):
        moves_of(store.model(NAME))


def test_a_verdict_is_kept_within_the_length_of_a_tag():
    from wearcast.registry.gate import Check

    long = Verdict("a/2", "a/1", "x" * 5000, 0.02, tuple(Check(f"c{i}", False, "y" * 5000) for i in range(9)))
    assert len(json.dumps(long.brief())) < 3000
    assert len(json.dumps(long.to_dict())) > 3000
