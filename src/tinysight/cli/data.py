"""Check the images of a data set, and make data sets of annotated photographs.

tinysight data check RECIPE | LIST...       what is missing, broken, there twice or on both sides
tinysight data prepare voc | coco | boxes   cut out what the boxes of photographs show
tinysight data prepare split                divide a list in two, groups and classes kept apart
tinysight data preview RECIPE --out FILE    what a recipe's training transforms make of its images

`tinysight data check --help` and `tinysight data prepare voc --help` say more. `check` answers 0 if
there is nothing wrong, 1 if there is, 2 if it could not be asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli import data_prepare
from tinysight.cli.arguments import add_override, add_recipe
from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.data.audit import Audit, Side

_SHOWN = 10  # items of a kind in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="what is wrong with the images")
    check.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a recipe; or list files or folders (of classes, or of images without labels): one for each side of "
        "the split",
    )
    check.add_argument("--root", metavar="DIR", help="folder of the images (default: the list's)")
    check.add_argument("--target", choices=("class", "multilabel", "identity", "transform"))
    check.add_argument("--labels", metavar="FILE", help="label names, `id name` or one a line")
    check.add_argument("--delimiter", help="between path and label (default: the last blank)")
    check.add_argument(
        "--min-size",
        type=int,
        metavar="PX",
        help="shorter side that an image should have (default: the input of the recipe's network)",
    )
    check.add_argument("--no-near", action="store_true", help="compare files byte by byte only")
    check.add_argument("--threads", type=int, metavar="N", help="default: one for each processor")
    check.add_argument("--json", metavar="FILE", help="write everything to FILE; - prints it")
    add_override(check)
    data_prepare.add_arguments(actions.add_parser("prepare", help="make images and lists"))
    preview = actions.add_parser("preview", help="draw augmented images of a recipe")
    add_recipe(preview, required=True)
    preview.add_argument(
        "--out", required=True, metavar="FILE", help="a .png or .jpg file to write"
    )
    preview.add_argument("--rows", type=int, default=6, metavar="N", help="images (default: 6)")
    preview.add_argument("--seed", type=int, default=0, help="of the images and the transforms")


def run(args: argparse.Namespace) -> int:
    """Do it."""
    if args.action == "prepare":
        return data_prepare.run(args)
    if args.action == "preview":
        return _preview(args)
    return _check(args)


def _preview(args: argparse.Namespace) -> int:
    """Draw some training images of a recipe, each several times augmented."""
    import numpy as np

    from tinysight.config import load_recipe
    from tinysight.data.lists import read_split
    from tinysight.transforms import Compose
    from tinysight.transforms.preview import write_contact_sheet

    if args.rows < 1:
        raise ConfigError("--rows", f"{args.rows} images cannot be drawn", "at least 1")
    recipe = load_recipe(args.recipe, args.override)
    samples = read_split(recipe.data, recipe.data.train)
    chosen = np.random.default_rng(args.seed).permutation(len(samples))[: args.rows]
    compose = Compose.from_specs([t.spec for t in recipe.transforms.train], "transforms.train")
    images = [samples[int(i)].path for i in sorted(chosen)]
    print(write_contact_sheet(args.out, images, compose, seed=args.seed))
    return 0


def _check(args: argparse.Namespace) -> int:
    from tinysight.data.audit import audit_images
    from tinysight.files import write_atomic

    sides, labels, min_size = _of_lists(args) if _are_lists(args.sources) else _of_recipe(args)
    audit = audit_images(
        sides,
        labels=labels,
        min_size=min_size if args.min_size is None else args.min_size,
        near=not args.no_near,
        threads=args.threads,
        progress=_tell if sys.stderr.isatty() else None,
    )
    text = json.dumps(audit.tree(), indent=2, ensure_ascii=False)
    if args.json == "-":
        print(text)
    else:
        print(_table(audit))
        if args.json:
            write_atomic(Path(args.json), text + "\n")
    return 0 if audit.clean else 1


def _are_lists(sources: list[str]) -> bool:
    """A recipe is a `.yaml` file or a shipped one's name; anything else that exists is a list."""
    first = Path(sources[0])
    if not first.exists() and first.suffix and first.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(str(first), "no such list file", "or name a recipe")
    return len(sources) > 1 or (first.exists() and first.suffix.lower() not in (".yaml", ".yml"))


def _of_recipe(args: argparse.Namespace) -> tuple[list[Side], tuple[str, ...], int]:
    from tinysight.config import load_recipe
    from tinysight.data.audit import Side
    from tinysight.data.labels import label_names
    from tinysight.data.lines import BadLines
    from tinysight.data.lists import read_split
    from tinysight.transforms import Compose

    for option in ("target", "labels", "delimiter"):
        if getattr(args, option):
            hint = f"-o data.{option}=... changes it"
            raise ConfigError(f"--{option}", "is said by the recipe", hint)
    recipe = load_recipe(args.sources[0], args.override)
    data = recipe.data
    if args.root:
        data = data.model_copy(update={"root": args.root})
    sides = []
    for name, split in (("train", data.train), ("eval", data.eval)):
        bad: list[BadLines] = []
        sides.append(Side(name, read_split(data, split, bad), bad))
    prepare = Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval")
    return sides, label_names(data), min(prepare.output_shape()[:2])


def _of_lists(args: argparse.Namespace) -> tuple[list[Side], tuple[str, ...], int]:
    from tinysight.data.audit import Side
    from tinysight.data.folders import folder_names, has_folders, read_class_folders
    from tinysight.data.labels import read_label_names
    from tinysight.data.lines import BadLines, Form, Target
    from tinysight.data.lists import read_list
    from tinysight.data.samples import Gathered

    if args.override:
        raise ConfigError("-o", "there is no recipe to change", "name one instead of a list")
    labels = read_label_names(args.labels) if args.labels else ()
    target: Target = args.target or "class"
    sides = []
    for source in map(Path, args.sources):
        name = source.name if args.sources.count(str(source)) == 1 else str(source)
        if source.is_dir():
            kind = target if args.target or labels or has_folders(source) else "transform"
            labels = labels or (() if kind == "transform" else folder_names(source))
            into = Gathered()
            read_class_folders(source, Form(kind, len(labels), names=labels), into)
            sides.append(Side(name, into.done()))
            continue
        bad: list[BadLines] = []
        samples = read_list(
            source,
            args.root or source.parent,
            len(labels) or None,
            args.delimiter,
            target=target,
            names=labels,
            bad=bad,
        )
        sides.append(Side(name, samples, bad))
    if len({side.name for side in sides}) < len(sides):
        paths = [str(Path(source)) for source in args.sources]
        if len(set(paths)) < len(paths):
            raise ConfigError("SOURCE", "the same list twice", "name each side of the split once")
        sides = [side._replace(name=path) for side, path in zip(sides, paths, strict=True)]
    return sides, labels, 0


def _table(audit: Audit) -> str:
    names = list(audit.sides)
    width = max(12, *map(len, audit.balance), 0)
    columns = [max(8, len(name)) for name in names]
    rows: list[tuple[str, dict[str, Any]]] = [
        ("label", dict(zip(names, names, strict=True))),
        *audit.balance.items(),
    ]
    rows.append(("all", dict(audit.sides)))
    if len(audit.balance) > 4 * _SHOWN:
        middle = ("...", dict.fromkeys(names, "..."))
        rows = [*rows[: 2 * _SHOWN], middle, *rows[-2 * _SHOWN :]]
    lines = [
        f"{label:{width}}"
        + "".join(f"  {by_side[n]!s:>{c}}" for n, c in zip(names, columns, strict=True))
        for label, by_side in rows
    ]
    for finding in audit.findings:
        lines += ["", f"{finding.severity}: {finding.kind}, {len(finding.items)}"]
        lines += [f"  {_line(item)}" for item in finding.items[:_SHOWN]]
        if len(finding.items) > _SHOWN:
            lines.append(f"  and {len(finding.items) - _SHOWN} more (--json names them)")
    if not audit.findings:
        lines += ["", "nothing wrong"]
    return "\n".join(lines)


def _line(item: dict[str, Any]) -> str:
    if "pictures" in item:
        places = [f"{p['path']} ({p['where']}, {_label(p['label'])})" for p in item["pictures"]]
        more = [f"and {len(places) - 4} more"] if len(places) > 4 else []
        return f"{item['how']}: " + ", ".join([*places[:4], *more])
    place = f"{item['path']} ({item['where']}): " if "path" in item else ""
    if not place and item.get("where"):
        place = f"{item['where']}: "
    return f"{place}{item['what']}" + (f"; {item['hint']}" if item.get("hint") else "")


def _label(label: int | list[int]) -> str:
    return "no label" if label == -1 else f"label {label}"


def _tell(what: str, done: int, total: int) -> None:
    end = "\r" if done < total else "\r" + " " * 40 + "\r"
    print(f"{what} {done} of {total}", end=end, file=sys.stderr, flush=True)
