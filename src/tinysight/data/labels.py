"""The names of the classes: written in the recipe, read from a file, or those of the folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.data.folders import folder_names
from tinysight.errors import ConfigError
from tinysight.tasks.base import target_of

if TYPE_CHECKING:
    from tinysight.config.schema import Data, Recipe, Split


def resolve_labels(recipe: Recipe) -> Recipe:
    """`recipe` with `data.labels` as a tuple of names, of identities their number; raises as `label_names`."""
    found = label_names(recipe.data)
    # Identities may be millions, and nothing shows their names.
    names = len(found) if target_of(recipe.data.target).open_set else found
    if recipe.data.labels == names:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"labels": names})})


def label_names(data: Data) -> tuple[str, ...]:
    """The K label names of a recipe, by class id.

    Where `data.labels` says nothing they are the folders of the classes, the ids of the training
    lists that are numbered anew, the identities up to the highest, or the places of several labels.

    Raises:
        ConfigError: fewer than two (several labels: none), they are to be found nowhere, or the
            file of the names is wrong.
        DataError: a list or folder that they are taken from is wrong.
    """
    if isinstance(data.labels, int):
        names = tuple(map(str, range(data.labels)))
    elif isinstance(data.labels, tuple):
        names = data.labels
    elif isinstance(data.labels, str):
        # Relative to a root, or to where the command runs.
        places = [*(root / data.labels for root in roots(data)), Path(data.labels)]
        names = read_label_names(next((p for p in places if p.is_file()), places[0]))
    elif data.train.folder is not None:
        names = folder_names(roots(data, data.train)[0] / data.train.folder)
    else:
        names = target_of(data.target).names(data)
    check_distinct(names, "data.labels")
    least = target_of(data.target).least
    if len(names) < least:
        raise ConfigError("data.labels", f"at least {least} names are needed, got {len(names)}")
    return names


def check_distinct(names: Sequence[str], where: str) -> None:
    """Raise `ConfigError` if two classes have one name: results could not tell them apart."""
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        ids = ", ".join(str(i) for i, name in enumerate(names) if name == twice[0])
        what = f"classes {ids} are all named {twice[0]!r}"
        raise ConfigError(where, what, "give each a name of its own")


def roots(data: Data, split: Split | None = None) -> tuple[Path, ...]:
    """The folders that the paths in the lists are relative to: one for all, or one a list."""
    root = (split.root if split else None) or data.root
    return tuple(map(Path, [root] if isinstance(root, str) else root))


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
        lines = [line.strip().lstrip("\ufeff") for line in path.read_text("utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file of label names") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"labels cannot be read: {error}") from None
    if not (named := [(number, line) for number, line in enumerate(lines, 1) if line]):
        raise ConfigError(str(path), "no label in it")
    split = r"[ \t]+" if delimiter is None else rf"\s*{re.escape(delimiter)}\s*"
    pairs = [re.fullmatch(rf"(\d{{1,9}}){split}(\S.*)", line) for _, line in named]
    if not all(pairs):
        # "2 dogs" may be a name; where every number is the place of its line, a number is missing.
        if all(int(p[1]) == place for place, p in enumerate(pairs) if p) and any(pairs):
            number, line = named[pairs.index(None)]
            raise ConfigError(f"{path}:{number}", f"{line!r} has no id, as other lines have")
        return tuple(line for _, line in named)
    ids = sorted((int(p[1]), p[2], n) for (n, _), p in zip(named, pairs, strict=True) if p)
    for due, (index, _, number) in enumerate(ids):
        if index != due:
            hint = "a line is `id name`, with every id from 0 on, once"
            raise ConfigError(f"{path}:{number}", f"class {index} where {due} is due", hint)
    return tuple(name for _, name, _ in ids)
