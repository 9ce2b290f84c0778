"""What `tinysight export` does for other engines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.engines.writers.check import Images

_NAMES = "openvino, ncnn, mnn, executorch, litert, torchscript, pt2, onnx, tensorrt, coreml"


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to `--to`."""
    add = parser.add_argument
    add("--to", metavar="NAMES", help=f"other engines' forms, with commas: {_NAMES}")
    add("--precision", default="fp32", metavar="P", help="of the forms: fp32, fp16, bf16, int8")
    add("--calibrate", metavar="SOURCE", help="typical images for int8: folder, pattern or list")
    add(
        "--max-loss",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="int8 is refused if more accuracy is lost on labelled images (--images LIST), or if "
        "more per cent of the labels change on others; default: 0.5",
    )
    add("--max-difference", type=float, metavar="D", help="accepted score difference of the forms")


def add_forms(args: argparse.Namespace, folder: str | Path) -> int:
    """Add the forms that `--to` names to the bundle in `folder`, and say how exact they are."""
    if not args.to:
        what = "nothing to do: a bundle is given and no form"
        raise ConfigError("--to", what, f"known: {_NAMES}")
    from tinysight.bundle import Bundle
    from tinysight.engines.writers.add import add_targets
    from tinysight.engines.writers.check import find_images

    bundle = Bundle.load(folder)
    classes = len(bundle.manifest.labels)
    names = [name.strip() for name in args.to.split(",") if name.strip()]
    done = add_targets(
        bundle,
        names,
        _images(args, bundle),
        precision=args.precision,
        calibrate=find_images(args.calibrate, classes) if args.calibrate else None,
        limit=args.max_difference,
        max_loss=args.max_loss,
        out=args.out if args.bundle else None,
        overwrite=args.force,
    )
    print(f"{'bundle':<15} {done.folder}")
    for name, form in done.manifest.variants.items():
        size = sum(done.manifest.files[file].size for file in form.files)
        lost = "" if form.lost_points is None else f", {form.lost_points:.2f} points lost"
        print(
            f"{name:<15} {size / 1e6:.2f} MB, {form.images} images, scores within "
            f"{form.max_score_difference:.2g} (mean {form.mean_score_difference:.2g}), "
            f"{form.label_flips} labels differ{lost}"
        )
    return 0


def _images(args: argparse.Namespace, bundle: Bundle) -> Images:
    """Those of --images, else those that the run was evaluated on."""
    from tinysight.engines.writers.check import Images, find_images

    if args.images:
        return find_images(args.images, len(bundle.manifest.labels))
    if args.bundle or not args.run:
        raise ConfigError("--images", "no image to check the forms on", "a folder or a list")
    from tinysight.data.lists import read_split
    from tinysight.training.predictor import find_checkpoint, load_model

    data = load_model(find_checkpoint(args.run))[1].data
    samples = read_split(data, data.eval)
    if not len(samples):
        raise DataError("--images", "the run's evaluation list is empty", "name images")
    labels = None
    if data.target == "class":
        labels = tuple(int(sample.label) for sample in samples)
    return Images(tuple(sample.path for sample in samples), labels).spread(500)
