"""Which model answers: champion, challenger or shadow; and how a new version takes the place of an old one.

What answers now is one immutable value, `Standing`. A request takes what it needs from it once and keeps that to its
end; a refresh builds the next one beside it and swaps the reference. So no answer can mix two versions, and an old
bundle is freed when the last request that holds it is done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Literal, TypeVar

from wearcast.errors import ConfigError, ModelError, RegistryError, RegistryUnavailableError, WearcastError
from wearcast.registry.reading import default_cache, default_uri, open_registry
from wearcast.registry.records import Reference
from wearcast.schema import UnitId
from wearcast.service.lastchampion import LastChampion
from wearcast.service.logs import get_logger
from wearcast.service.outside import Outside, OutsideDownError
from wearcast.service.problems import Problem
from wearcast.service.served import Arm, Served, key_of, load_served
from wearcast.service.split import MemorySplits, Split, Splits, position, salt_of

if TYPE_CHECKING:
    from wearcast.registry.reading import ModelVersion, RegistryReader
    from wearcast.service.settings import ModelsSettings, Settings

__all__ = ["Broken", "Deployment", "DeploymentStatus", "Served", "Standing"]

CHAMPION, CHALLENGER = "champion", "challenger"
FETCH_S = 300.0
"""What the download of a bundle may take."""
FIRST_RETRY_S, LONGEST_RETRY_S = 10.0, 900.0
"""When a version that could not be loaded is tried again: doubling."""

log = get_logger("wearcast.service.deployment")

T = TypeVar("T")

Source = Literal["none", "bundle", "registry", "cache"]


@dataclass(frozen=True)
class Standing:
    """What answers now.

    Attributes:
        champion: answers, unless the split says otherwise.
        challenger: is tried beside it.
        split: how.
        salt: of the experiment.
        shadow: the challenger as it forecasts without being heard.
    """

    champion: Served
    challenger: Served | None = None
    split: Split = field(default_factory=Split)
    salt: bytes = field(default=b"", repr=False)
    shadow: Served | None = None

    @classmethod
    def of(cls, champion: Served, challenger: Served | None, split: Split) -> Standing:
        """With what follows from these."""
        if challenger is None:
            return cls(champion, None, split)
        salt = salt_of(challenger.name, challenger.version)
        shadow = challenger.as_arm("shadow") if split.shadow else None
        return cls(champion, challenger, split, salt, shadow)

    def choose(self, unit: UnitId) -> Served:
        """The arm of a unit."""
        if self.challenger is not None and self.split.share and position(self.salt, unit) < self.split.share:
            return self.challenger
        return self.champion


@dataclass(frozen=True)
class Broken:
    """A version that could not be loaded.

    Attributes:
        reference: `NAME/VERSION`.
        error: why.
        attempts: how often it was tried.
        retry_at: when it is tried again, on the clock of `time.monotonic`.
    """

    reference: str
    error: str
    attempts: int
    retry_at: float


@dataclass(frozen=True)
class DeploymentStatus:
    """What there is to say of the models, for health, metrics and people.

    Attributes:
        ready: whether a model answers.
        source: where the champion came from; `cache` if the registry was down when the service started.
        champion, challenger: what is loaded.
        split: how the units are shared.
        registry_error: why the registry could not be asked the last time; None if it could.
        refreshed_at: when it was last heard, in seconds since 1970.
        broken: versions that could not be loaded.
        swaps: how often what answers has changed.
    """

    ready: bool
    source: Source
    champion: Served | None
    challenger: Served | None
    split: Split
    registry_error: str | None
    refreshed_at: float | None
    broken: tuple[Broken, ...]
    swaps: int


class Deployment:
    """The models that answer."""

    def __init__(
        self,
        models: ModelsSettings,
        *,
        registry: RegistryReader | None = None,
        outside: Outside | None = None,
        splits: Splits | None = None,
    ) -> None:
        if (models.bundle is None) == (models.reference is None):
            raise ConfigError(
                "there is no model to serve" if models.bundle is None else "a bundle and a reference are given",
                where="models",
                hint="give models.bundle (--bundle DIR) or models.reference (--model NAME@champion)",
            )
        self._settings = models
        self._registry = registry
        self._outside = outside or Outside("registry")
        self._splits = splits or MemorySplits()
        self._cache = models.cache_dir or default_cache()
        self._last = LastChampion(self._cache, models.reference or "")
        self._wanted = None if models.reference is None else Reference.parse(models.reference)
        self._lock = asyncio.Lock()
        self._now: Standing | None = None
        self._source: Source = "none"
        self._error: str | None = None
        self._refreshed_at: float | None = None
        self._broken: dict[str, Broken] = {}
        self._swaps = 0

    @classmethod
    def of(cls, settings: Settings, outside: Outside, splits: Splits | None = None) -> Deployment:
        """As the settings say. Nothing is loaded or asked yet.

        Raises:
            ConfigError: they name no model, or two.
            RegistryError: the reference is none.
            UsageError: the registry's URL is none.
        """
        models = settings.models
        registry = open_registry(settings.registry_url or default_uri()) if models.reference else None
        return cls(models, registry=registry, outside=outside, splits=splits)

    # ------------------------------------------------------------------ asking

    @property
    def ready(self) -> bool:
        """Whether a model answers."""
        return self._now is not None

    @property
    def standing(self) -> Standing:
        """What answers now.

        Raises:
            Problem: nothing yet.
        """
        now = self._now
        if now is None:
            why = (
                "no model is loaded yet"
                if self._error is None
                else "no model is loaded: the registry has not been heard"
            )
            raise Problem("no-model", why, retry_after_s=5)
        return now

    def arms(self) -> tuple[Served, ...]:
        """Every model that can be asked, the champion first; none before the first is loaded."""
        now = self._now
        if now is None:
            return ()
        return (now.champion,) if now.challenger is None else (now.champion, now.challenger)

    def champion(self) -> Served:
        """The champion, or the fixed bundle."""
        return self.standing.champion

    def choose(self, unit: UnitId) -> Served:
        """The model that answers for a unit: the same each time, as long as share and challenger stay.

        Raises:
            Problem: no model is loaded yet.
        """
        return self.standing.choose(unit)

    def shadow(self) -> Served | None:
        """The challenger, if it is to forecast without being heard."""
        return None if self._now is None else self._now.shadow

    def named(self, reference: str | None) -> Served:
        """The loaded model of a name: `pumps`, `pumps@challenger`, `pumps/3`; the champion for None.

        Raises:
            Problem: no model is loaded yet.
            Problem: another one, or none, has this name.
        """
        now = self.standing
        if reference is None:
            return now.champion
        for served in (now.champion, now.challenger):
            if served is not None and reference in _names(served):
                return served
        there = ", ".join(f"{served.name}@{served.arm} ({served.reference})" for served in self.arms())
        raise Problem.at("unknown-model", "model", f"no such model is loaded: {reference[:80]!r}", f"there are {there}")

    def status(self) -> DeploymentStatus:
        """What there is to say of the models."""
        now = self._now
        return DeploymentStatus(
            ready=now is not None,
            source=self._source,
            champion=now.champion if now else None,
            challenger=now.challenger if now else None,
            split=now.split if now else Split(self._settings.challenger_share, self._settings.shadow),
            registry_error=self._error,
            refreshed_at=self._refreshed_at,
            broken=tuple(self._broken.values()),
            swaps=self._swaps,
        )

    # ------------------------------------------------------------------ changing

    async def start(self) -> None:
        """Load the first model. With a registry that is down, the last champion that was served here.

        Raises:
            BundleError: the fixed bundle is not whole. (A model of the registry that cannot be had is no error: it is
                asked for again, and the service is not ready until then.)
        """
        await self.refresh()
        if self._now is None:
            log.error("no model to serve yet", reference=self._settings.reference, error=self._error)

    async def run(self) -> None:
        """Ask the registry every `refresh_s`, with jitter, until cancelled; whatever goes wrong, go on."""
        while True:
            await asyncio.sleep(self._settings.refresh_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads processes
            if self._settings.bundle is not None:
                continue
            try:
                await self.refresh(insist=False)
            except Exception:
                log.exception("refresh failed; what is loaded goes on answering")

    async def refresh(self, *, insist: bool = True) -> bool:
        """Load what is to answer now, and let it answer.

        Args:
            insist: try versions again that could not be loaded a moment ago.

        Returns:
            Whether what answers has changed.

        Raises:
            BundleError: the fixed bundle is not whole; what is loaded goes on answering.
        """
        async with self._lock:
            if self._settings.bundle is not None:
                return await self._refresh_fixed(self._settings.bundle)
            try:
                found = await self._resolve()
            except (OutsideDownError, RegistryError) as error:
                self._miss(error)
                down = isinstance(error, (OutsideDownError, RegistryUnavailableError))
                return await self._from_cache() if self._now is None and down else False
            self._error, self._refreshed_at = None, time()
            return await self._follow(*found, insist=insist)

    async def set_split(self, split: Split, *, version: str | None = None) -> Split:
        """Decide about the challenger that is loaded; the decision outlives the process and goes with that version.

        Args:
            split: what is decided.
            version: of the challenger that is meant; whichever it is unless given.

        Returns:
            What was in force before.

        Raises:
            Problem: no model is loaded yet.
            Problem: there is no challenger, or another one.
        """
        async with self._lock:
            now = self.standing
            challenger = now.challenger
            if challenger is None or (version is not None and challenger.version != version):
                what = "there is no challenger" if challenger is None else f"the challenger is {challenger.reference}"
                raise Problem("conflict", what)
            await asyncio.to_thread(self._splits.write, challenger.name, challenger.version, split)
            self._swap(now.champion, challenger, split, self._source)
            return now.split

    # ------------------------------------------------------------------ inside

    async def _refresh_fixed(self, path: Path) -> bool:
        key = await asyncio.to_thread(key_of, path)
        if self._now is not None and self._now.champion.key == key:
            return False
        served = await asyncio.to_thread(load_served, path, arm="fixed")
        return self._swap(served, None, Split(), "bundle")

    async def _resolve(self) -> tuple[ModelVersion, ModelVersion | None]:
        """Champion and challenger as the registry has them now; both aliases are read at one moment."""
        wanted, registry = self._wanted, self._registry
        if wanted is None or registry is None:
            raise RegistryError("there is no registry", hint="set registry_url")
        reference = self._settings.reference or ""
        try:
            aliases = (await self._ask(lambda: registry.model(wanted.name))).aliases
        except RegistryError as error:
            # One that does not know the model at all cannot be told from one whose disk is not there.
            raise RegistryUnavailableError(error.what, where=error.where, hint=error.hint) from error
        if wanted.alias != CHAMPION:
            return await self._ask(lambda: registry.resolve(reference)), None
        if CHAMPION not in aliases:  # the registry says it best
            return await self._ask(lambda: registry.resolve(reference)), None
        champion = await self._ask(lambda: registry.resolve(f"{wanted.name}/{aliases[CHAMPION]}"))
        if aliases.get(CHALLENGER, champion.version) == champion.version:
            return champion, None
        return champion, await self._ask(lambda: registry.resolve(f"{wanted.name}/{aliases[CHALLENGER]}"))

    async def _ask(self, question: Callable[[], T]) -> T:
        def attempt() -> Awaitable[T]:
            return asyncio.to_thread(question)

        return await self._outside.call(attempt)

    async def _follow(self, wanted: ModelVersion, rival: ModelVersion | None, *, insist: bool) -> bool:
        """Let these versions answer, as far as they can be loaded."""
        loaded = {served.reference: served for served in self.arms()}
        self._broken = {key: broken for key, broken in self._broken.items() if key in _references(wanted, rival)}
        champion = await self._load(wanted, "champion", loaded, insist)
        if champion is None:
            if self._now is None:
                return False
            champion = self._now.champion  # a broken version never takes the place of a good one
        challenger = None
        if rival is not None:
            before = self._now.challenger if self._now else None
            challenger = await self._load(rival, "challenger", loaded, insist, beside=champion) or before
        if challenger is not None and challenger.reference == champion.reference:
            challenger = None
        split = await self._decided(challenger)
        if champion.reference == wanted.reference:
            await asyncio.to_thread(self._last.remember, champion)
        return self._swap(champion, challenger, split, "registry")

    async def _load(
        self, version: ModelVersion, arm: Arm, loaded: dict[str, Served], insist: bool, beside: Served | None = None
    ) -> Served | None:
        """The version as this arm; None if it cannot be loaded, or is not to be tried again yet."""
        if version.reference in loaded:
            return loaded[version.reference].as_arm(arm)
        broken = self._broken.get(version.reference)
        if broken is not None and not insist and monotonic() < broken.retry_at:
            return None
        try:
            path = await self._fetch(version)
            served = await asyncio.to_thread(load_served, path, arm=arm, name=version.name, version=version.version)
            if beside is not None:
                _check_rival(served, beside)
        except Exception as error:  # whatever is wrong with it must not stop what answers
            self._note(version.reference, error, broken)
            return None
        self._broken.pop(version.reference, None)
        return served

    async def _fetch(self, version: ModelVersion) -> Path:
        registry = self._registry
        assert registry is not None  # noqa: S101 - who found the version did it there
        async with asyncio.timeout(FETCH_S):  # bytes, not an answer: the registry's guard would be too impatient
            return await asyncio.to_thread(registry.fetch, version, self._cache)

    async def _from_cache(self) -> bool:
        """Start with what was served here last, because the registry is down."""
        last = await asyncio.to_thread(self._last.read)
        if last is None:
            return False
        try:
            served = await asyncio.to_thread(
                load_served, last.path, arm="champion", name=last.name, version=last.version
            )
        except WearcastError as error:
            self._note(f"{last.name}/{last.version}", error, None)
            return False
        log.warning("the registry is down: serving the last champion from the cache", model=served.reference)
        return self._swap(served, None, Split(), "cache")

    async def _decided(self, challenger: Served | None) -> Split:
        """What is in force for a challenger: what was decided about it, else what the settings say."""
        if challenger is None:
            return Split()
        ours = Split(self._settings.challenger_share, self._settings.shadow)
        try:
            found = await asyncio.to_thread(self._splits.read, challenger.name, challenger.version)
        except Exception:  # whatever the database's driver raises
            log.exception("what was decided about the challenger cannot be read; it stays as it is")
            now = self._now
            same = now is not None and now.challenger is not None and now.challenger.version == challenger.version
            return now.split if now is not None and same else Split()  # unheard, until it is known
        return found or ours

    def _swap(self, champion: Served, challenger: Served | None, split: Split, source: Source) -> bool:
        before, self._source = self._now, source
        after = Standing.of(champion, challenger, split)
        if after == before:
            return False
        self._now = after  # one reference: whoever reads it has all of the old or all of the new
        self._swaps += 1
        log.info(
            "models changed",
            champion=champion.reference,
            challenger=challenger.reference if challenger else None,
            challenger_share=split.share,
            shadow=split.shadow,
            source=source,
        )
        return True

    def _miss(self, error: WearcastError) -> None:
        """Note that the registry could not be asked; say so once, not at each attempt."""
        said = error.what if error.where is None else f"{error.where}: {error.what}"
        if said != self._error:
            answering = self._now.champion.reference if self._now else None
            log.warning("the registry cannot be asked; what is loaded goes on", error=said, champion=answering)
        self._error = said

    def _note(self, reference: str, error: Exception, before: Broken | None) -> None:
        attempts = 1 if before is None else before.attempts + 1
        pause = min(FIRST_RETRY_S * 2 ** (attempts - 1), LONGEST_RETRY_S)
        said = str(error) or type(error).__name__
        self._broken[reference] = Broken(reference, said, attempts, monotonic() + pause)
        log.error("version cannot be loaded", model=reference, error=said, attempts=attempts, retry_in_s=pause)


def _names(served: Served) -> tuple[str, ...]:
    whole = (served.reference, f"{served.name}@{served.arm}")
    return whole if served.arm == CHALLENGER else (served.name, *whole)


def _references(*versions: ModelVersion | None) -> set[str]:
    return {version.reference for version in versions if version is not None}


def _check_rival(challenger: Served, champion: Served) -> None:
    """A challenger answers the same question as the champion.

    Raises:
        ModelError: it does not.
    """
    one, other = challenger.bundle.manifest.target, champion.bundle.manifest.target
    if one.kind != other.kind:
        raise ModelError(
            f"the challenger forecasts {one.kind}, the champion {other.kind}",
            where=challenger.reference,
            hint="register it under a name of its own",
        )
