"""The names of the classes: written in the recipe, read from a file, or those of the folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.config.schema import Data, Recipe

_NUMBERED = re.compile(r"(\d{1,9})[ \t]+(\S.*)")


def resolve_labels(recipe: Recipe) -> Recipe:
    """`recipe` with `data.labels` as a tuple of names, whatever it was; raises as `label_names`."""
    names = label_names(recipe.data)
    if recipe.data.labels == names:
        return recipe
    data = recipe.data.model_copy(update={"labels": names})
    return recipe.model_copy(update={"data": data})


def label_names(data: Data) -> tuple[str, ...]:
    """The K label names of a recipe, by class id.

    Raises:
        ConfigError: fewer than two, the same one twice, or the file of the names is wrong.
        DataError: they are those of the folders, and there is none.
    """
    if isinstance(data.labels, tuple):
        names = data.labels
    elif isinstance(data.labels, str):
        names = read_label_names(_find(data, data.labels))
    elif data.train.folder is not None:
        names = folder_names(roots(data)[0] / data.train.folder)
    else:
        hint = "list them by class id, or name a file with a line `id name` for each"
        raise ConfigError("data.labels", "the label names are missing", hint)
    if len(names) < 2:
        raise ConfigError("data.labels", f"at least 2 names are needed, got {len(names)}")
    return names


def roots(data: Data) -> tuple[Path, ...]:
    """The folders that the paths in the lists are relative to: one for all, or one a list."""
    return tuple(map(Path, [data.root] if isinstance(data.root, str) else data.root))


def read_label_names(path: str | Path, delimiter: str | None = None) -> tuple[str, ...]:
    """Names from a UTF-8 text file: `id name` lines with every id from 0 on, or one name a line.

    Args:
        path: the file; blank lines are passed over.
        delimiter: text between id and name. Default: blanks or tabs.

    Raises:
        ConfigError: the file is missing, empty, not UTF-8, or an id is missing or there twice.
    """
    path = Path(path)
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file of label names") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"labels cannot be read: {error}") from None
    names = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not names:
        raise ConfigError(str(path), "no label in it")
    found = [(number, _numbered(line, delimiter)) for number, line in names]
    if not all(pair for _, pair in found):
        return tuple(line for _, line in names)
    by_id: dict[int, str] = {}
    for number, pair in found:
        assert pair is not None
        if pair[0] in by_id:
            raise ConfigError(f"{path}:{number}", f"class {pair[0]} is here for the second time")
        by_id[pair[0]] = pair[1]
    missing = next((i for i in range(len(by_id)) if i not in by_id), None)
    if missing is not None:
        hint = "a line is `id name`, with every id from 0 on"
        raise ConfigError(str(path), f"no name for class {missing}", hint)
    return tuple(by_id[i] for i in range(len(by_id)))


def folder_names(folder: Path) -> tuple[str, ...]:
    """Names of the folders in `folder`, sorted; hidden ones are left out.

    Raises:
        DataError: no such folder, or there is no folder in it.
    """
    try:
        found = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        raise DataError(str(folder), f"cannot be listed: {error.strerror}") from None
    if not found:
        raise DataError(str(folder), "no folder in it", "one folder per class is expected")
    return tuple(sorted(found))


def _numbered(line: str, delimiter: str | None) -> tuple[int, str] | None:
    if delimiter is None:
        match = _NUMBERED.fullmatch(line)
        return (int(match[1]), match[2].strip()) if match else None
    first, _, rest = line.partition(delimiter)
    return (int(first), rest.strip()) if first.isdecimal() and rest.strip() else None


def _find(data: Data, name: str) -> Path:
    """A file of names lies relative to a root, or to where the command runs."""
    places = [root / name for root in roots(data)] + [Path(name)]
    return next((p for p in places if p.is_file()), places[0])
