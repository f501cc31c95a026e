"""What answers: it is loaded whole, swapped in one step, and stays when the new one is bad or the registry is down."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.deployments import ScriptedRegistry, scaled_bundle

from wearcast.errors import BundleCorruptError, BundleError, ConfigError
from wearcast.forecast import RulForecast
from wearcast.registry.records import ModelVersion
from wearcast.service.deployment import Deployment
from wearcast.service.outside import Outside, Patience
from wearcast.service.problems import Problem
from wearcast.service.served import Served, key_of, load_served, synthetic
from wearcast.service.settings import ModelsSettings
from wearcast.service.split import MemorySplits, Split

Make = Callable[..., Deployment]
HASTY = Patience(budget_s=1.0, attempt_s=0.5, attempts=1, failures=100, rest_s=0.01)
UNITS = [f"pump-{i}" for i in range(400)]


@pytest.fixture(scope="session")
def versions(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three versions; each forecasts its number times the RUL of the first."""
    folder = tmp_path_factory.mktemp("versions")
    source = trained("lightgbm").path
    return {str(n): scaled_bundle(source, folder / f"v{n}", float(n)) for n in (1, 2, 3)}


@pytest.fixture
def registry(versions: dict[str, Path]) -> ScriptedRegistry:
    return ScriptedRegistry(dict(versions), {"champion": "1"})


@pytest.fixture
def make(registry: ScriptedRegistry, tmp_path: Path) -> Make:
    def build(splits: MemorySplits | None = None, **settings: object) -> Deployment:
        given = ModelsSettings.model_validate(
            {"reference": "pumps@champion", "cache_dir": tmp_path / "cache", "refresh_s": 0.01, **settings}
        )
        return Deployment(given, registry=registry, outside=Outside("registry", HASTY), splits=splits)

    return build


def rul(served: Served) -> float:
    forecast = served.bundle.predict(synthetic(served.bundle))
    assert isinstance(forecast, RulForecast)
    return float(forecast.rul[0])


def test_the_champion_of_the_registry_answers(make: Make, versions: dict[str, Path]) -> None:
    deployment = make()
    assert not deployment.ready
    asyncio.run(deployment.start())
    served = deployment.choose("pump-1")
    assert (served.name, served.version, served.arm) == ("pumps", "1", "champion")
    assert served.bundle.path == versions["1"]
    assert deployment.status().source == "registry"
    assert deployment.arms() == (served,)


def test_versions_forecast_what_is_theirs(versions: dict[str, Path]) -> None:
    first, third = (load_served(versions[n], arm="champion") for n in ("1", "3"))
    assert rul(third) == pytest.approx(3 * rul(first), rel=1e-6)
    assert first.key != third.key
    assert first.version == first.key[:12]


@pytest.mark.parametrize("kind", ["cnn_bilstm", "tft"])
def test_networks_are_warmed_with_a_unit_of_their_own_kind(trained: TrainedByKind, kind: str) -> None:
    served = load_served(trained(kind).path, arm="fixed")
    assert rul(served) > 0


def test_an_ensemble_is_served(ensemble: object) -> None:
    served = load_served(ensemble.bundle.path, arm="fixed")  # type: ignore[attr-defined]
    assert rul(served) > 0


def test_promotion_takes_effect_at_the_next_refresh(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> tuple[bool, bool, str]:
        deployment = make()
        await deployment.start()
        unchanged = await deployment.refresh()
        registry.aliases["champion"] = "2"
        return unchanged, await deployment.refresh(), deployment.champion().version

    assert asyncio.run(scenario()) == (False, True, "2")
    assert registry.fetched == ["1", "2"], "what is loaded is not fetched again"


def test_a_request_in_flight_keeps_the_old_one_which_is_freed_with_it(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> None:
        deployment = make()
        await deployment.start()
        held = deployment.choose("pump-1")
        before, watched = rul(held), weakref.ref(held.bundle)
        registry.aliases["champion"] = "2"
        await deployment.refresh()
        gc.collect()
        assert held.version == "1"
        assert rul(held) == before, "the old one still answers for whoever holds it"
        assert watched() is held.bundle
        del held
        gc.collect()
        assert watched() is None, "and is freed with the last of them"

    asyncio.run(scenario())


def _cut(folder: Path) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100])


def _empty(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def _no_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize("damage", [_cut, _empty, _no_sums])
def test_a_broken_version_never_replaces_a_good_one(
    make: Make, registry: ScriptedRegistry, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async def scenario() -> Deployment:
        deployment = make()
        await deployment.start()
        broken = shutil.copytree(registry.folders["2"], tmp_path / "broken")
        damage(broken)
        registry.folders["9"], registry.aliases["champion"] = broken, "9"
        assert await deployment.refresh() is False
        return deployment

    deployment = asyncio.run(scenario())
    assert deployment.champion().version == "1"
    status = deployment.status()
    assert [broken.reference for broken in status.broken] == ["pumps/9"]
    assert status.ready
    assert status.registry_error is None


def test_a_broken_version_is_tried_again_later_and_at_once_if_asked(
    make: Make, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    async def scenario() -> Deployment:
        deployment = make()
        await deployment.start()
        half = shutil.copytree(registry.folders["2"], tmp_path / "half")
        _cut(half)
        registry.folders["9"], registry.aliases["champion"] = half, "9"
        await deployment.refresh(insist=False)
        await deployment.refresh(insist=False)
        assert registry.fetched.count("9") == 1, "not at each refresh"
        await deployment.refresh()
        assert registry.fetched.count("9") == 2, "a person who asks is heard"
        assert deployment.status().broken[0].attempts == 2
        shutil.copy(registry.folders["2"] / "model.onnx", half / "model.onnx")  # the writer has come to its end
        assert await deployment.refresh()
        return deployment

    deployment = asyncio.run(scenario())
    assert deployment.champion().version == "9"
    assert deployment.status().broken == ()


def test_the_registry_may_go_down(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> Deployment:
        deployment = make()
        await deployment.start()
        registry.down = True
        assert await deployment.refresh() is False
        assert "registry" in (deployment.status().registry_error or "")
        assert deployment.choose("pump-1").version == "1"
        registry.down, registry.aliases["champion"] = False, "3"
        assert await deployment.refresh()
        return deployment

    status = asyncio.run(scenario()).status()
    assert status.registry_error is None
    assert status.champion.version == "3"


def test_an_alias_that_is_gone_is_told_and_changes_nothing(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> Deployment:
        deployment = make()
        await deployment.start()
        registry.aliases.clear()
        assert await deployment.refresh() is False
        return deployment

    deployment = asyncio.run(scenario())
    assert deployment.champion().version == "1"
    assert "there is no pumps@champion" in (deployment.status().registry_error or "")


def test_a_cold_start_without_a_registry_serves_the_last_champion(make: Make, registry: ScriptedRegistry) -> None:
    asyncio.run(make().start())
    registry.down = True

    async def cold() -> Deployment:
        deployment = make()
        await deployment.start()
        assert deployment.status().source == "cache"
        assert deployment.champion().reference == "pumps/1"
        assert deployment.status().registry_error
        registry.down, registry.aliases["champion"] = False, "2"
        await deployment.refresh()
        return deployment

    status = asyncio.run(cold()).status()
    assert (status.source, status.champion.version) == ("registry", "2")


def test_a_first_start_without_a_registry_is_not_ready_and_says_so(make: Make, registry: ScriptedRegistry) -> None:
    registry.down = True
    deployment = make()
    asyncio.run(deployment.start())
    assert not deployment.ready
    assert deployment.arms() == ()
    assert deployment.shadow() is None
    with pytest.raises(Problem, match="no model is loaded") as found:
        deployment.choose("pump-1")
    assert found.value.status == 503
    registry.down = False
    asyncio.run(deployment.refresh())
    assert deployment.ready


def test_a_registry_that_lost_the_model_is_one_that_is_down(make: Make, registry: ScriptedRegistry) -> None:
    """A disk that is not mounted leaves an empty registry; an alias that was taken away was taken away on purpose."""
    asyncio.run(make().start())
    registry.name = "nothing-is-here"
    lost = make()
    asyncio.run(lost.start())
    assert (lost.status().source, lost.champion().version) == ("cache", "1")
    registry.name = "pumps"
    registry.aliases.clear()
    withdrawn = make()
    asyncio.run(withdrawn.start())
    assert not withdrawn.ready


def test_a_damaged_copy_is_not_served_on_a_cold_start(make: Make, registry: ScriptedRegistry, tmp_path: Path) -> None:
    registry.folders["1"] = shutil.copytree(registry.folders["1"], tmp_path / "copy")
    asyncio.run(make().start())
    registry.down = True
    _cut(tmp_path / "copy")
    deployment = make()
    asyncio.run(deployment.start())
    assert not deployment.ready
    assert deployment.status().broken[0].reference == "pumps/1"


def test_units_are_shared_between_champion_and_challenger(make: Make, registry: ScriptedRegistry) -> None:
    registry.aliases["challenger"] = "2"
    deployment = make(challenger_share=0.25)
    asyncio.run(deployment.start())
    chosen = {unit: deployment.choose(unit).arm for unit in UNITS}
    share = sum(arm == "challenger" for arm in chosen.values()) / len(UNITS)
    assert abs(share - 0.25) < 0.08
    assert chosen == {unit: deployment.choose(unit).arm for unit in UNITS}
    asyncio.run(deployment.set_split(Split(0.6)))
    moved = {unit for unit in UNITS if deployment.choose(unit).arm == "challenger"}
    assert {unit for unit, arm in chosen.items() if arm == "challenger"} < moved, "only from champion to challenger"


def test_a_decision_outlives_the_process_and_not_the_challenger(make: Make, registry: ScriptedRegistry) -> None:
    splits = MemorySplits()
    registry.aliases["challenger"] = "2"

    async def scenario() -> Split:
        deployment = make(splits, challenger_share=0.5)
        await deployment.start()
        await deployment.set_split(Split(0.0, stopped="worse"))
        again = make(splits, challenger_share=0.5)
        await again.start()
        assert again.status().split == Split(0.0, stopped="worse")
        registry.aliases["challenger"] = "3"
        await again.refresh()
        return again.status().split

    assert asyncio.run(scenario()) == Split(0.5), "the next challenger begins as the settings say"


def test_a_promoted_challenger_is_not_loaded_twice(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> Deployment:
        registry.aliases["challenger"] = "2"
        deployment = make(challenger_share=0.5)
        await deployment.start()
        rival = deployment.named("pumps@challenger").bundle
        registry.aliases["champion"] = "2"
        await deployment.refresh()
        assert deployment.champion().bundle is rival
        assert deployment.champion().arm == "champion"
        return deployment

    deployment = asyncio.run(scenario())
    assert len(deployment.arms()) == 1
    assert registry.fetched == ["1", "2"]


def test_a_shadow_forecasts_and_is_not_chosen(make: Make, registry: ScriptedRegistry) -> None:
    registry.aliases["challenger"] = "2"
    deployment = make(shadow=True)
    asyncio.run(deployment.start())
    assert {deployment.choose(unit).arm for unit in UNITS} == {"champion"}
    shadow = deployment.shadow()
    assert (shadow.version, shadow.arm) == ("2", "shadow")


def test_a_broken_challenger_leaves_the_champion_alone(make: Make, registry: ScriptedRegistry, tmp_path: Path) -> None:
    broken = shutil.copytree(registry.folders["2"], tmp_path / "broken")
    _cut(broken)
    registry.folders["9"], registry.aliases["challenger"] = broken, "9"
    deployment = make(challenger_share=0.5)
    asyncio.run(deployment.start())
    assert {deployment.choose(unit).version for unit in UNITS} == {"1"}
    assert deployment.status().broken[0].reference == "pumps/9"


def test_models_are_found_by_name(make: Make, registry: ScriptedRegistry) -> None:
    registry.aliases["challenger"] = "2"
    deployment = make()
    asyncio.run(deployment.start())
    assert deployment.named(None).version == "1"
    for name in ("pumps", "pumps@champion", "pumps/1"):
        assert deployment.named(name).version == "1"
    for name in ("pumps@challenger", "pumps/2"):
        assert deployment.named(name).version == "2"
    for name in ("pumps/3", "fans", "pumps@nobody", "x" * 500):
        with pytest.raises(Problem, match="no such model") as found:
            deployment.named(name)
        assert found.value.status == 404


def test_a_split_needs_a_challenger(make: Make, registry: ScriptedRegistry) -> None:
    deployment = make()
    asyncio.run(deployment.start())
    with pytest.raises(Problem, match="no challenger"):
        asyncio.run(deployment.set_split(Split(0.5)))
    registry.aliases["challenger"] = "2"
    asyncio.run(deployment.refresh())
    with pytest.raises(Problem, match="the challenger is pumps/2"):
        asyncio.run(deployment.set_split(Split(0.5), version="3"))


def test_a_pinned_version_has_no_challenger(make: Make, registry: ScriptedRegistry) -> None:
    registry.aliases["challenger"] = "2"
    deployment = make(reference="pumps/3", challenger_share=0.9)
    asyncio.run(deployment.start())
    assert {deployment.choose(unit).version for unit in UNITS} == {"3"}


def test_a_fixed_bundle_is_served_and_loaded_again_when_asked(versions: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(versions["1"], tmp_path / "fixed")

    async def scenario() -> None:
        deployment = Deployment(ModelsSettings(bundle=folder))
        await deployment.start()
        first = deployment.champion()
        assert (first.arm, deployment.status().source) == ("fixed", "bundle")
        assert await deployment.refresh() is False
        _cut(folder)
        (folder / "SHA256SUMS").write_text("0" * 64 + "  bundle.json\n")
        with pytest.raises(BundleCorruptError):
            await deployment.refresh()
        assert deployment.champion() is first
        shutil.rmtree(folder)
        shutil.copytree(versions["2"], folder)
        assert await deployment.refresh()
        assert deployment.champion().key != first.key

    asyncio.run(scenario())


def test_a_fixed_bundle_that_is_broken_stops_the_start(versions: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(versions["1"], tmp_path / "fixed")
    _cut(folder)
    with pytest.raises(BundleCorruptError, match=r"model\.onnx has changed"):
        asyncio.run(Deployment(ModelsSettings(bundle=folder)).start())
    with pytest.raises(BundleError, match="there is no bundle here"):
        asyncio.run(Deployment(ModelsSettings(bundle=tmp_path / "none")).start())


@pytest.mark.parametrize("given", [{}, {"bundle": Path("b"), "reference": "pumps@champion"}])
def test_one_model_must_be_named(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"no model|and a reference"):
        Deployment(ModelsSettings.model_validate(given))


def test_it_follows_the_registry_by_itself_whatever_happens(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> Deployment:
        deployment = make()
        await deployment.start()
        following = asyncio.create_task(deployment.run())
        registry.down = True
        await _until(lambda: deployment.status().registry_error is not None)
        registry.down, registry.aliases["champion"] = False, "2"
        await _until(lambda: deployment.champion().version == "2")
        following.cancel()
        return deployment

    assert asyncio.run(scenario()).status().swaps == 2


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def test_many_refreshes_at_once_load_once(make: Make, registry: ScriptedRegistry) -> None:
    async def scenario() -> None:
        deployment = make()
        await deployment.start()
        registry.aliases["champion"] = "2"
        changed = await asyncio.gather(*(deployment.refresh() for _ in range(8)))
        assert sum(changed) == 1

    asyncio.run(scenario())
    assert registry.fetched == ["1", "2"]


def test_bundles_that_are_served_no_more_leave_the_cache(
    make: Make, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a registry does whose files are downloaded."""

    def download(version: ModelVersion, cache: Path) -> Path:
        source = registry.folders[version.version]
        return shutil.copytree(source, cache / key_of(source), dirs_exist_ok=True)

    monkeypatch.setattr(registry, "fetch", download)
    deployment = make()
    caches = []
    for version in ("1", "2", "3"):
        registry.aliases["champion"] = version
        asyncio.run(deployment.refresh())
        caches.append({path.name for path in deployment.champion().bundle.path.parent.iterdir() if path.is_dir()})
    keys = [key_of(registry.folders[version]) for version in ("1", "2", "3")]
    assert caches == [{keys[0]}, set(keys[:2]), set(keys[1:])]
