"""How a new version takes the place of an old one: asked for, loaded and warmed beside it, and swapped in one step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, TypeVar

from wearcast.errors import ConfigError, ModelError, RegistryError, RegistryUnavailableError, WearcastError
from wearcast.registry.reading import default_cache, default_uri, open_registry
from wearcast.registry.records import Reference
from wearcast.schema import UnitId
from wearcast.service.keptbundles import KeptBundles
from wearcast.service.logs import get_logger
from wearcast.service.outside import Outside, OutsideDownError
from wearcast.service.problems import Problem
from wearcast.service.served import Arm, Served, key_of, load_served
from wearcast.service.split import MemorySplits, Split, Splits
from wearcast.service.standing import Attempts, DeploymentStatus, Source, Standing

if TYPE_CHECKING:
    from wearcast.registry.reading import ModelVersion, RegistryReader
    from wearcast.service.settings import ModelsSettings, Settings

__all__ = ["Deployment", "Served"]

CHAMPION, CHALLENGER = "champion", "challenger"
FETCH_S = 300.0
"""What the download of a bundle may take."""

log = get_logger("wearcast.service.deployment")

T = TypeVar("T")


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
        self._kept = KeptBundles(self._cache, models.reference or "")
        self._wanted = None if models.reference is None else Reference.parse(models.reference)
        self._lock = asyncio.Lock()
        self._now: Standing | None = None
        self._source: Source = "none"
        self._error: str | None = None
        self._refreshed_at: float | None = None
        self._attempts = Attempts()
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
                else "no model is loaded: the registry has not said what to serve"
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
            broken=self._attempts.broken,
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
        self._attempts.only(one.reference for one in (wanted, rival) if one is not None)
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
            await asyncio.to_thread(self._kept.keep, champion, challenger)
        return self._swap(champion, challenger, split, "registry")

    async def _load(
        self, version: ModelVersion, arm: Arm, loaded: dict[str, Served], insist: bool, beside: Served | None = None
    ) -> Served | None:
        """The version as this arm; None if it cannot be loaded, or is not to be tried again yet."""
        if version.reference in loaded:
            return loaded[version.reference].as_arm(arm)
        if not insist and self._attempts.is_too_soon(version.reference):
            return None
        try:
            path = await self._fetch(version)
            served = await asyncio.to_thread(load_served, path, arm=arm, name=version.name, version=version.version)
            if beside is not None:
                _check_rival(served, beside)
        except Exception as error:  # whatever is wrong with it must not stop what answers
            self._attempts.failed(version.reference, error)
            return None
        self._attempts.worked(version.reference)
        return served

    async def _fetch(self, version: ModelVersion) -> Path:
        registry = self._registry
        assert registry is not None  # noqa: S101 - who found the version did it there
        async with asyncio.timeout(FETCH_S):  # bytes, not an answer: the registry's guard would be too impatient
            return await asyncio.to_thread(registry.fetch, version, self._cache)

    async def _from_cache(self) -> bool:
        """Start with what was served here last, because the registry is down."""
        last = await asyncio.to_thread(self._kept.last)
        if last is None:
            return False
        try:
            served = await asyncio.to_thread(
                load_served, last.path, arm="champion", name=last.name, version=last.version
            )
        except WearcastError as error:
            self._attempts.failed(f"{last.name}/{last.version}", error)
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
        """Note that the registry does not say what to serve; tell it once, not at each attempt."""
        said = str(error)
        if said != self._error:
            answering = self._now.champion.reference if self._now else None
            goes_on = "nothing is loaded yet" if answering is None else "what is loaded goes on"
            log.warning(f"the registry does not say what to serve; {goes_on}", error=said, champion=answering)
        self._error = said


def _names(served: Served) -> tuple[str, ...]:
    whole = (served.reference, f"{served.name}@{served.arm}")
    return whole if served.arm == CHALLENGER else (served.name, *whole)


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
