"""Check the images of a data set, and make data sets of annotated photographs.

tinysight data check RECIPE | LIST...         missing, broken, duplicate or leaked images
tinysight data prepare voc | coco | boxes     crop the boxes of photographs
tinysight data prepare split                  divide a list in two, by class and by group
tinysight data mine POOL --teacher MODEL      choose the images of a pool that a teacher is surest of
tinysight data convert SOURCE --out DIR       copies of TIFF, GIF, AVIF, HEIC ... as PNG or JPEG
tinysight data preview -c RECIPE --out FILE   draw training images as a recipe augments them

`tinysight data check --help`, and likewise the others', say more. Exit code of `check`: 0 if
nothing is wrong, 1 if something is, 2 for a usage error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli import data_mine, data_prepare
from tinysight.cli.arguments import add_override, add_plugin, add_recipe
from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.data.audit.audit import Audit
    from tinysight.data.audit.sources import SplitSide

_SHOWN = 10  # items of a kind in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="find what is wrong with the images")
    add = check.add_argument
    sources = "a recipe; or list files or folders (of classes, or of images without labels): one for each side of "
    add("sources", nargs="+", metavar="SOURCE", help=sources + "the split")
    add("--root", metavar="DIR", help="images' folder (default: the list's)")
    add("--target", metavar="TARGET", help="what follows the path in a line (default: class)")
    add("--labels", metavar="FILE", help="label names, `id name` or one a line")
    add("--delimiter", help="between path and label (default: the last blank)")
    side = "least shorter side of an image (default: the input of the recipe's network)"
    add("--min-size", type=int, metavar="PX", help=side)
    add("--no-near", action="store_true", help="compare files byte by byte only")
    add("--threads", type=int, metavar="N", help="CPU threads (default: one per processor)")
    add("--json", metavar="FILE", help="write every finding as JSON; - prints it")
    add_override(check)
    add_plugin(check)
    data_prepare.add_arguments(actions.add_parser("prepare", help="make images and lists"))
    data_mine.add_arguments(actions.add_parser("mine", help="choose images of a pool"))
    convert = actions.add_parser("convert", help="copy images of other formats as PNG or JPEG")
    add = convert.add_argument
    add("source", type=Path, metavar="SOURCE", help="a folder, or a list, which is rewritten")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--root", type=Path, metavar="DIR", help="images' folder (default: the list's)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: one per processor)")
    preview = actions.add_parser("preview", help="draw augmented images of a recipe")
    add_recipe(preview, required=True)
    add = preview.add_argument
    add("--out", required=True, metavar="FILE", help="a .png or .jpg file to write")
    add("--rows", type=int, default=6, metavar="N", help="number of images (6)")
    add("--seed", type=int, default=0, help="chooses the images and the augmentation (0)")


def run(args: argparse.Namespace) -> int:
    """Run one action; 1 if something is wrong with the data."""
    actions = {"check": _check, "convert": _convert, "mine": data_mine.run, "preview": _preview}
    return actions.get(args.action, data_prepare.run)(args)


def _convert(args: argparse.Namespace) -> int:
    """Copy, and name what was left out; 1 if something could not be read."""
    from tinysight.data.convert import MANIFEST, convert

    done = convert(args.source, args.out, root=args.root, threads=args.threads)
    print(f"copied {done.copied}, converted {len(done.made)}, in {args.out}")
    for what, items in (
        ("more than one image", done.notes),
        ("passed over, no images by their names", done.passed_over),
        ("left out", [str(problem) for problem in done.problems]),
    ):
        if items:
            print(f"{what}: {len(items)}", *items[:_SHOWN], sep="\n  ")
        if len(items) > _SHOWN:
            print(f"  and {len(items) - _SHOWN} more ({args.out / MANIFEST} names them)")
    return 1 if done.problems else 0


def _preview(args: argparse.Namespace) -> int:
    """Draw some training images of a recipe, each several times augmented."""
    import numpy as np

    from tinysight.config import load_recipe
    from tinysight.data.lists import read_split
    from tinysight.transforms.preview import write_contact_sheet

    if args.rows < 1:
        raise ConfigError("--rows", f"{args.rows} images cannot be drawn", "at least 1")
    recipe = load_recipe(args.recipe, args.override)
    samples = read_split(recipe.data, recipe.data.train)
    chosen = np.random.default_rng(args.seed).permutation(len(samples))[: args.rows]
    compose = recipe.train_transforms()
    images = [samples[int(i)].path for i in sorted(chosen)]
    print(write_contact_sheet(args.out, images, compose, seed=args.seed))
    return 0


def _check(args: argparse.Namespace) -> int:
    from tinysight.data.audit.audit import audit_images
    from tinysight.files import write_atomic

    sides, labels, min_size = _of_lists(args) if _are_lists(args.sources) else _of_recipe(args)
    audit = audit_images(
        sides, labels=labels, min_size=min_size if args.min_size is None else args.min_size,
        near=not args.no_near, threads=args.threads,
        progress=_show_progress if sys.stderr.isatty() else None,
    )  # fmt: skip
    text = json.dumps(audit.tree(), indent=2, ensure_ascii=False)
    if args.json not in (None, "-"):
        write_atomic(Path(args.json), text + "\n")
    print(text if args.json == "-" else "\n".join(_table(audit)))
    return 0 if audit.clean else 1


def _are_lists(sources: list[str]) -> bool:
    """A recipe is a `.yaml` file or a shipped one's name; anything else that exists is a list."""
    first = Path(sources[0])
    is_yaml = first.suffix.lower() in (".yaml", ".yml")
    if not first.exists() and first.suffix and not is_yaml:
        raise DataError(str(first), "no such list file", "or name a recipe")
    return len(sources) > 1 or (first.exists() and not is_yaml)


def _of_recipe(args: argparse.Namespace) -> tuple[list[SplitSide], tuple[str, ...], int]:
    from tinysight.config import load_recipe
    from tinysight.data.audit.sources import sides_of_recipe

    for name in ("target", "labels", "delimiter"):
        if getattr(args, name):
            raise ConfigError(f"--{name}", "the recipe gives it", f"-o data.{name}=... changes it")
    recipe = load_recipe(args.sources[0], args.override)
    data = recipe.data.model_copy(update={"root": args.root}) if args.root else recipe.data
    return *sides_of_recipe(data), min(recipe.eval_transforms().output_shape()[:2])


def _of_lists(args: argparse.Namespace) -> tuple[list[SplitSide], tuple[str, ...], int]:
    from tinysight.data.audit.sources import sides_of_lists
    from tinysight.data.labels import check_distinct, read_label_names

    if args.override:
        raise ConfigError("-o", "there is no recipe to change", "name one instead of a list")
    labels = read_label_names(args.labels) if args.labels else ()
    check_distinct(labels, args.labels)
    sources = list(map(Path, args.sources))
    return *sides_of_lists(sources, labels, args.root, args.target, args.delimiter), 0


def _table(audit: Audit) -> list[str]:
    names = list(audit.sides)
    width = max([12, *map(len, audit.balance)])
    rows: list[tuple[str, Mapping[str, object]]] = list(audit.balance.items())
    if len(rows) > 4 * _SHOWN:
        rows[2 * _SHOWN - 1 : 1 - 2 * _SHOWN] = [("...", dict.fromkeys(names, "..."))]
    rows = [("label", {name: name for name in names}), *rows, ("all", audit.sides)]
    lines = [
        f"{label:{width}}" + "".join(f"  {by_side[n]!s:>{max(8, len(n))}}" for n in names)
        for label, by_side in rows
    ]
    for finding in audit.findings:
        lines += ["", f"{finding.severity}: {finding.kind}, {len(finding.items)}"]
        lines += [f"  {_line(item)}" for item in finding.items[:_SHOWN]]
        if len(finding.items) > _SHOWN:
            lines.append(f"  and {len(finding.items) - _SHOWN} more (--json names them)")
    return lines if audit.findings else [*lines, "", "nothing wrong"]


def _line(item: dict[str, Any]) -> str:
    if "pictures" in item:
        places = [f"{p['path']} ({p['where']}, {_label(p['label'])})" for p in item["pictures"]]
        more = [f"and {len(places) - 4} more"] if len(places) > 4 else []
        return f"{item['how']}: " + ", ".join([*places[:4], *more])
    place = f"{item['path']} ({item['where']})" if "path" in item else item.get("where")
    hint = f"; {item['hint']}" if item.get("hint") else ""
    return f"{place}: {item['what']}{hint}" if place else f"{item['what']}{hint}"


def _label(label: int | list[int]) -> str:
    return "no label" if label == -1 else f"label {label}"


def _show_progress(what: str, done: int, total: int) -> None:
    end = "\r" if done < total else "\r" + " " * 40 + "\r"
    print(f"{what} {done} of {total}", end=end, file=sys.stderr, flush=True)
