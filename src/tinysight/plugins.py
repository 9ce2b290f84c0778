"""Components of the user's own: Python files, and installed packages, that register them by the usual decorators.

A file is named by `--plugin FILE.py` or by `plugins:` in a recipe, and is known by its name and SHA-256, which runs
and bundles record. An installed package names its modules in the entry point group `tinysight.components`; they are
imported where a component is wanted that nothing else provides. A plugin is code: it may do what the user may do.

A plugin's module is a submodule of this one, and `TINYSIGHT_PLUGINS` names the files that were loaded. So a process
that was spawned finds both when it unpickles what a plugin defines.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from tinysight.errors import ConfigError, TinysightError
from tinysight.files import sha256
from tinysight.registry import registered_by

logger = logging.getLogger(__name__)

GROUP = "tinysight.components"
ENVIRONMENT = "TINYSIGHT_PLUGINS"
_BETWEEN = "\n"  # two paths of it; they may hold what stands between those of PATH
__path__: list[str] = []  # of a package: plugins are its submodules

_loaded: dict[str, Plugin] = {}  # by source: the path of a file, the name of a package
_lock = threading.RLock()


class Plugin(NamedTuple):
    """What registered components.

    Attributes:
        name: file name, or `package version`.
        sha256: of the file, or of the package's module.
        file: absolute path; None for an installed package.
    """

    name: str
    sha256: str
    file: str | None


def load_plugin(file: str | Path) -> Plugin:
    """Run a Python file that registers components; at most once, unless its content has changed.

    Raises:
        ConfigError: no such file, an error in it, or a name in it that is registered already.
    """
    path = Path(file).resolve()
    if path.suffix != ".py" or (path.exists() and not path.is_file()):
        raise ConfigError(f"plugin {file}", "is no Python file", "name one, FILE.py")
    try:
        plugin = _plugin_of(path)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise ConfigError(f"plugin {file}", what.lower()) from None
    with _lock:
        if _loaded.get(str(path)) == plugin:
            return plugin
        before = os.environ.get(ENVIRONMENT, "")
        if str(path) not in before.split(_BETWEEN):
            os.environ[ENVIRONMENT] = _BETWEEN.join(filter(None, (before, str(path))))
        try:
            importlib.import_module(_module_name(plugin))
        except (Exception, SystemExit) as error:
            os.environ[ENVIRONMENT] = before
            if isinstance(error, TinysightError):
                raise
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == str(path)]
            place = f"plugin {file}" + (f":{lines[-1]}" if lines else "")
            raise ConfigError(place, f"{type(error).__name__}: {error}") from error
    return plugin


@cache
def load_installed() -> None:
    """Import what installed packages offer in the group `tinysight.components`; one that fails is logged."""
    from importlib.metadata import entry_points

    with _lock:
        for entry in entry_points(group=GROUP):
            source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
            try:
                with registered_by(source):
                    entry.load()
                origin = getattr(sys.modules[entry.module], "__file__", None)
                digest = sha256(Path(origin).read_bytes()) if origin else ""
                _loaded[source] = Plugin(source, digest, None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's code
                logger.warning("%s: %s: %s: %s", source, entry.value, type(error).__name__, error)


def loaded_files() -> list[Plugin]:
    """The files that were loaded, in that order."""
    return [plugin for plugin in _loaded.values() if plugin.file]


def find_plugin(source: str) -> Plugin:
    """The plugin of a source that a registry names."""
    return _loaded[source]


def require(recorded: Mapping[str, Any], where: str, needed_for: str = "") -> None:
    """Load the plugin that a run or a bundle recorded, unless it is loaded.

    One that the user has loaded under the same name counts; a warning says if it differs.

    Args:
        recorded: `name`, `sha256`, and `file` where it is known.
        where: the recipe or bundle, for messages.
        needed_for: what it provides there.

    Raises:
        ConfigError: it is missing, or the file at its place is another one by now.
    """
    name, digest, file = str(recorded["name"]), recorded["sha256"], recorded.get("file")
    for path in _inherited():
        load_plugin(path)
    same = [plugin for plugin in _loaded.values() if plugin.name == name]
    if not same and not name.endswith(".py"):
        load_installed()
        same = [p for p in _loaded.values() if p.name.split()[0] == name.split()[0]]
    if any(plugin.sha256 == digest for plugin in same):
        return
    if same:
        logger.warning("%s: was made with another version of the plugin %s", where, name)
        return
    hint = f"add --plugin {name}" if name.endswith(".py") else f"pip install {name.split()[0]}"
    what = f"needs the plugin {name}" + (f" ({needed_for})" if needed_for else "")
    if file and Path(file).is_file():
        if sha256(Path(file).read_bytes()) == digest:
            load_plugin(file)
            return
        raise ConfigError(where, f"{what}, and {file} has changed since", f"{hint} to use another")
    raise ConfigError(where, what, hint)


def load_all(entries: Sequence[Any], folder: Path) -> list[dict[str, Any]]:
    """The plugins of a recipe, loaded, as they are recorded.

    Args:
        entries: paths, relative to `folder` or to the working folder, and records of `require`.
        folder: the recipe's.
    """
    found = []
    for entry in entries:
        if isinstance(entry, str):
            path = folder / entry
            entry = load_plugin(path if path.is_file() else entry)._asdict()
        found.append(entry)
    return found


def _inherited() -> list[Path]:
    files = os.environ.get(ENVIRONMENT, "").split(_BETWEEN)
    return [path for file in files if file and (path := Path(file)).is_file()]


def _plugin_of(path: Path) -> Plugin:
    return Plugin(path.name, sha256(path.read_bytes()), str(path))


def _module_name(plugin: Plugin) -> str:
    stem = re.sub(r"\W", "_", plugin.name.removesuffix(".py"))
    return f"{__name__}.{stem}_{plugin.sha256[:8]}"


class _Loader(SourceFileLoader):
    """Compiles what was hashed: no byte code of an earlier version is read, none is written."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        with registered_by(str(self.path)):
            super().exec_module(module)
        _loaded[str(self.path)] = _plugin_of(Path(str(self.path)))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module of a plugin, also in a process that was started by one which had loaded it."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name.startswith(f"{__name__}."):
            for file in _inherited():
                if _module_name(_plugin_of(file)) == name:
                    loader = _Loader(name, str(file))
                    return importlib.util.spec_from_file_location(name, file, loader=loader)
        return None


sys.meta_path.append(_Finder())
