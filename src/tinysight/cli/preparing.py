"""`tinysight data prepare`: images of boxes, and lists divided in two.

voc     a folder of Pascal VOC XML files
coco    a COCO JSON file
boxes   a list of `path x0 y0 x1 y1 name` lines
split   a list of `path label` lines, divided in two

What is made is a folder with train_list.txt, val_list.txt, labels.txt and manifest.json, which says of what and how;
the first three forms write the images of the boxes below images/.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from tinysight.errors import ConfigError, DataError

_FORMS = ("voc", "coco", "boxes", "split")
_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tinysight data prepare`."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("form", choices=_FORMS)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the annotations, or the list")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images (default: SOURCE's)"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME[=BOX,...]",
        help="labels by class id, each with the names of the boxes that it stands for (default: its own name)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the boxes, about their centres"
    )
    parser.add_argument(
        "--min-size", type=int, default=1, metavar="PX", help="of a crop's shorter side"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--test-fraction", type=float, metavar="F", help="of every class (default: 0.2)"
    )
    how.add_argument(
        "--test-per-class", type=int, metavar="N", help="so many of every class instead"
    )
    parser.add_argument(
        "--group",
        metavar="PATTERN",
        help="what must stay on one side, by its path: a regular expression, such as '^(cam[0-9]+)/'"
        " (default: all crops of a photograph)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a folder that is not finished"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: one for each processor")


def run(args: argparse.Namespace) -> int:
    """Make it; 1 if something could not be read."""
    if not 0 < args.scale < 100:
        raise ConfigError("--scale", f"should be between 0 and 100, got {args.scale:g}")
    if args.test_fraction is not None and not 0 < args.test_fraction < 1:
        raise ConfigError(
            "--test-fraction", f"should be between 0 and 1, got {args.test_fraction:g}"
        )
    if args.test_per_class is not None and args.test_per_class < 1:
        raise ConfigError("--test-per-class", f"should be at least 1, got {args.test_per_class}")
    try:
        re.compile(args.group or "")
    except re.error as error:
        raise ConfigError("--group", f"not a regular expression: {error}") from None
    return _split(args) if args.form == "split" else _cut(args)


def _cut(args: argparse.Namespace) -> int:
    from tinysight.concurrency import usable_cores
    from tinysight.data.prepare import annotations
    from tinysight.data.prepare.crops import Manifest, cut, group_of, rooted
    from tinysight.data.prepare.splits import divide

    read = {
        "voc": annotations.read_voc,
        "coco": annotations.read_coco,
        "boxes": annotations.read_boxes,
    }[args.form]
    images = args.images or (args.source if args.source.is_dir() else args.source.parent)
    photographs, problems = read(args.source, images)
    known = sorted(set(annotations.names_of(photographs)))
    names, classes = _classes(args, known)
    manifest = Manifest(args.out, _settings(args), args.resume)
    threads = args.threads or usable_cores()
    made = cut(
        photographs, images, args.out, classes,
        scale=args.scale, min_size=args.min_size, threads=threads,
    )  # fmt: skip
    if not made.crops:
        first = next(map(str, problems + made.problems), "")
        raise DataError(str(args.source), "no crop could be made", first)
    problems += made.problems
    photos = list(rooted([Path(crop.photograph) for crop in made.crops], images))
    groups = [group_of(path, args.group) for path in photos]
    labels = [crop.label for crop in made.crops]
    division = divide(labels, groups, **_share(args))
    pairs = [(crop.path, crop.label) for crop in made.crops]
    return _finish(args, manifest, names, pairs, division, problems, dict(made.skipped))


def _split(args: argparse.Namespace) -> int:
    from tinysight.data.lists import read_list
    from tinysight.data.prepare.crops import Manifest, group_of, rooted
    from tinysight.data.prepare.splits import divide

    root = args.images or args.source.parent
    if args.scale != 1 or args.min_size != 1:
        raise ConfigError("--scale", "split makes no crops")
    names = tuple(args.classes or ())
    samples = read_list(args.source, root, len(names) or None, names=names)
    paths = list(rooted([sample.path for sample in samples], root))
    labels = samples.labels.tolist()
    names = names or tuple(map(str, range(max(labels) + 1)))
    groups = [group_of(path, args.group) for path in paths]
    division = divide(labels, groups, **_share(args))
    manifest = Manifest(args.out, _settings(args), args.resume)
    return _finish(args, manifest, names, list(zip(paths, labels, strict=True)), division, [], {})


def _finish(
    args: argparse.Namespace,
    manifest: Any,
    names: tuple[str, ...],
    pairs: list[tuple[str, int]],
    division: Any,
    problems: list[Any],
    skipped: dict[str, int],
) -> int:
    from tinysight.data.prepare.crops import by_label, lines
    from tinysight.files import write_atomic

    sides = {"train": division.train, "val": division.test}
    for side, places in sides.items():
        write_atomic(args.out / f"{side}_list.txt", lines([pairs[i] for i in places]))
    text = "".join(f"{i} {name}\n" for i, name in enumerate(names))
    write_atomic(args.out / "labels.txt", text)
    counts = {side: by_label([pairs[i][1] for i in p], names) for side, p in sides.items()}
    left = [pairs[i][0] for i in division.left_out]
    manifest.finish(
        {
            "split": {**_share(args), "group": args.group},
            "counts": counts,
            "left_out": left,
            "skipped": skipped,
            "problems": [problem._asdict() for problem in problems],
        }
    )
    width = max(8, *map(len, names))
    print(f"{'label':{width}}     train       val")
    for name in names:
        print(f"{name:{width}}  {counts['train'][name]:8d}  {counts['val'][name]:8d}")
    if left:
        print(f"\non neither side, for their group is in the test: {len(left)}")
    for reason, count in skipped.items():
        print(f"boxes {reason}, skipped: {count}")
    if problems:
        print(f"\nleft out, for something is wrong: {len(problems)}")
        for problem in problems[:_SHOWN]:
            print(f"  {problem}")
        if len(problems) > _SHOWN:
            print(f"  and {len(problems) - _SHOWN} more (manifest.json names them)")
    return 1 if problems else 0


def _classes(args: argparse.Namespace, known: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Label names by class id, and the class id of each box name."""
    if not args.classes:
        if len(known) < 2:
            what = f"only boxes of {known[0]}" if known else "no boxes"
            raise DataError(str(args.source), what, "a classifier needs two classes")
        return tuple(known), {name: i for i, name in enumerate(known)}
    names, classes = [], {}
    for i, text in enumerate(args.classes):
        name, _, boxes = text.partition("=")
        names.append(name)
        for box in (boxes or name).split(","):
            if box not in known:
                from tinysight.errors import nearest

                raise ConfigError("--classes", f"no box is named {box!r}", nearest(box, known))
            classes[box] = i
    return tuple(names), classes


def _share(args: argparse.Namespace) -> dict[str, Any]:
    fraction = None if args.test_per_class else args.test_fraction or 0.2
    return {"fraction": fraction, "per_class": args.test_per_class, "seed": args.seed}


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the crops depend on; how they are divided may change until they are all there."""
    keys = ("form", "classes", "scale", "min_size")
    told = {key: getattr(args, key) for key in keys}
    paths = {"source": str(args.source), "images": str(args.images or "")}
    return {**paths, **told}
