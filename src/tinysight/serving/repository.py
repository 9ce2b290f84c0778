"""The models of a server: which are wanted, which are loaded, and the one loop that brings the two together.

A bundle that is replaced on disk is loaded beside the old one, run once, and takes its place between two requests;
those that are under way finish on the old one. What cannot be loaded is logged and changes nothing. Several workers
share a file that says what is wanted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tinysight.bundle import MANIFEST, Bundle, is_local
from tinysight.errors import ConfigError, TinysightError
from tinysight.files import write_atomic
from tinysight.foreign import find_bundle
from tinysight.serving.batching import WorkPool
from tinysight.serving.limits import Refusal, ServerLimits
from tinysight.serving.models import IMAGE, ModelView, ServedModel
from tinysight.serving.observing import log

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
Wanted: TypeAlias = dict[str, dict[str, str]]  # folder of a bundle by name and version


def parse_models(words: list[str]) -> Wanted:
    """`[NAME[:VERSION]=]BUNDLE` for each word; the name is else the bundle's task, the version 1.

    Raises:
        ConfigError: a name that cannot stand in an address, or is given twice.
        BundleError: a bundle that is missing or damaged.
    """
    wanted: Wanted = {}
    for word in words:
        said, _, source = word.rpartition("=")
        bundle = Bundle.load(source if is_local(source) else find_bundle(source, None))
        name, _, version = said.partition(":")
        name, version = name or re.sub(r"[^\w.-]", "_", bundle.manifest.task), version or "1"
        if not _NAME.fullmatch(name) or name.endswith(IMAGE) or not version.isdecimal():
            hint = "letters, digits, _ . - and a number, as in `clarity:2=runs/mine/bundle`"
            raise ConfigError(word, "is no name of a model", hint)
        if version in wanted.setdefault(name, {}):
            raise ConfigError(word, f"{name}:{version} is served already", "give it a name")
        wanted[name][version] = str(bundle.folder.resolve())
    return wanted


class _Loaded(NamedTuple):
    model: ServedModel
    stamp: object  # of the folder when it was read


class Repository:
    """What a server process serves.

    Args:
        wanted: what it starts with.
        options: of the pipelines.
        pool: threads that run all models.
        limits: of the server.
        store: folder whose subfolders are bundles that may be loaded by name; None: only those of `wanted`.
        shared: file in which workers share what is wanted; None for a single process.
    """

    def __init__(
        self, wanted: Wanted, options: Mapping[str, Any], pool: WorkPool, limits: ServerLimits,
        store: Path | None = None, shared: Path | None = None,
    ) -> None:  # fmt: skip
        self._known = {name: dict(versions) for name, versions in wanted.items()}
        self._wanted, self._options, self.pool = wanted, options, pool
        self._limits, self._store, self._shared = limits, store, shared
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._failed: dict[tuple[str, str], object] = {}
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self._changing = asyncio.Lock()
        self._followed: object = None  # the state of the shared file that `_wanted` is
        self.ready = False

    def get(self, name: str, version: str = "") -> tuple[ServedModel, ModelView]:
        """A model and its face of that name; the highest version unless one is named.

        Raises:
            Refusal: 404.
        """
        base = name.removesuffix(IMAGE)
        versions = self.versions(base)
        wanted = version or (versions[-1] if versions else "")
        if (found := self._loaded.get((base, wanted))) is None:
            what = f"no model {name[:100]!r}" + (f" in version {version[:20]!r}" if version else "")
            raise Refusal(404, what + " is loaded")
        return found.model, found.model.images if name.endswith(IMAGE) else found.model.network

    def has(self, name: str, version: str = "") -> bool:
        """Whether `get` finds it."""
        with suppress(Refusal):
            return bool(self.get(name, version))
        return False

    def for_route(self, route: str, name: str) -> ServedModel:
        """The model of a task route: the named one, or the only one whose results are of this kind."""
        fit = {m.name: m for m in self.models() if m.route == route}
        if name:
            found = self.get(*name.split(":", 1))[0]
            if found.route != route:
                raise Refusal(404, f"the results of {name!r} are those of /v1/{found.route}")
            return found
        if len(fit) != 1:
            what = "no model gives such results" if not fit else "several models give such results"
            raise Refusal(404 if not fit else 400, f"{what}; name one with ?model=")
        return next(iter(fit.values()))

    def models(self) -> list[ServedModel]:
        """All that are loaded, by name and version."""
        keys = sorted(self._loaded, key=lambda key: (key[0], int(key[1])))
        return [self._loaded[key].model for key in keys]

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a model, lowest first."""
        return sorted((v for n, v in self._loaded if n == name), key=int)

    def index(self) -> list[dict[str, str]]:
        """Every model that is known, as the protocol's repository index lists them."""
        known = {(n, v) for n, versions in self._known.items() for v in versions}
        if self._store:
            names = {p.parent.name for p in self._store.glob(f"*/{MANIFEST}")}
            known |= {(n, "1") for n in names - self._known.keys()}
        rows = []
        for key in sorted(known | self._loaded.keys()):
            state = {"state": "READY"} if key in self._loaded else {"state": "UNAVAILABLE"}
            reason = {"reason": "cannot be loaded"} if key in self._failed else {}
            rows.append({"name": key[0], "version": key[1], **state, **reason})
        return rows

    async def load(self, name: str) -> None:
        """Load a model, or load it again; with `store` also a subfolder of it that was not known.

        Raises:
            Refusal: there is no such model, or it cannot be loaded.
        """
        async with self._changing:
            versions = self._known.get(name)
            if not versions and self._store and _NAME.fullmatch(name):
                folder = (self._store / name).resolve()
                if folder.parent == self._store.resolve() and (folder / MANIFEST).is_file():
                    versions = {"1": str(folder)}
            if not versions:
                raise Refusal(404, f"no model {name[:100]!r} can be loaded")
            self._wanted[name] = versions
            self._failed = {key: seen for key, seen in self._failed.items() if key[0] != name}
            self._share()
            await self._apply()
            keys = {(name, version) for version in versions}
            if keys & self._failed.keys() or keys - self._loaded.keys():
                raise Refusal(400, f"model {name!r} cannot be loaded; the server's log says why")
            self._known[name] = versions

    async def unload(self, name: str) -> None:
        """Take a model out of service; requests that are under way finish."""
        async with self._changing:
            if self._wanted.pop(name, None) is None:
                raise Refusal(404, f"no model {name[:100]!r} is loaded")
            self._share()
            await self._apply()

    async def start(self) -> None:
        """Load what is wanted; an error of any model is an error of the server."""
        self._follow()
        await self._apply(strict=True)
        self.ready = True

    async def watch(self, seconds: float = 0.5) -> None:
        """Follow changes on disk until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            async with self._changing:
                self._follow()
                await self._apply()

    def _follow(self) -> None:
        """Want what another worker was asked for."""
        if self._shared and (stamp := _stamp(self._shared)) not in (None, self._followed):
            self._followed = stamp
            with suppress(OSError, ValueError):
                self._wanted = json.loads(self._shared.read_bytes())

    async def _apply(self, strict: bool = False) -> None:
        loop = asyncio.get_running_loop()
        wanted = {(n, v): f for n, versions in self._wanted.items() for v, f in versions.items()}
        for key in self._loaded.keys() - wanted.keys():
            del self._loaded[key]
            log("unloaded", model=key[0], version=key[1])
        for key, folder in wanted.items():
            stamp = _stamp(Path(folder, MANIFEST))
            before = self._loaded.get(key)
            same = before is not None and before.stamp == stamp
            if stamp is None or same or self._failed.get(key) == stamp:
                continue
            try:
                model = await loop.run_in_executor(None, self._open, *key, folder)
            except TinysightError as error:
                if strict:
                    raise
                self._failed[key] = stamp
                log("not loaded", model=key[0], version=key[1], error=str(error))
                continue
            self._failed.pop(key, None)
            self._loaded[key] = _Loaded(model, stamp)
            log("loaded", model=key[0], version=key[1], folder=folder)

    def _open(self, name: str, version: str, folder: str) -> ServedModel:
        counts = self.counts.setdefault((name, version), Counter())
        bundle = Bundle.load(folder)
        return ServedModel(name, version, bundle, self._options, self.pool, self._limits, counts)

    def _share(self) -> None:
        if self._shared:
            write_atomic(self._shared, json.dumps(self._wanted))


def _stamp(path: Path) -> object:
    """What changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
