"""Make a bundle of a run.

    tinysight export --run runs/mine
    tinysight export --run runs/mine --out bundles/mine --images some/images --force
    tinysight export --run runs/mine --to openvino,ncnn,mnn
    tinysight export --bundle bundles/mine --to openvino --precision int8 --calibrate images/
    tinysight export -c X.yaml -o Global.pretrained_model=... -o Global.save_inference_dir=...

The bundle is compared with the network on real images first, and only written if both agree; so
is every variant for another engine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_recipe, read_foreign_config
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle

_ENGINES = "openvino, ncnn, mnn, executorch, litert, torchscript, pt2, onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("--run", metavar="DIR", help="run folder, or a checkpoint")
    add_recipe(parser, required=False, text="PaddleClas configuration, in place of --run")
    add("--out", metavar="DIR", help="bundle folder (default: bundle/ in the run folder)")
    add("--images", metavar="SOURCE", help="more images to compare on: folder, pattern or list")
    add("--tolerance", type=float, default=1e-4, metavar="D", help="accepted score difference")
    add("--licence", default="", metavar="TEXT", help="licence of the network, for its card")
    add("--bundle", metavar="DIR", help="bundle to add variants (--to) to, in place of --run")
    add("--to", metavar="NAMES", help=f"engines of the variants, separated by commas: {_ENGINES}")
    add("--precision", default="fp32", metavar="P", help="of the variants: fp32, fp16, bf16, int8")
    add("--calibrate", metavar="SOURCE", help="typical images for int8: folder, pattern or list")
    text = (
        "largest loss of int8 in percentage points (0.5): of accuracy if --images is a labelled list, "
        "else of labels that change"
    )
    add("--max-loss", type=float, default=0.5, metavar="POINTS", help=text)
    text = "accepted score difference of the variants"
    add("--max-difference", type=float, metavar="D", help=text)
    add("--force", action="store_true", help="replace an existing bundle")


def run(args: argparse.Namespace) -> int:
    """Export and report the checks."""
    from tinysight.bundle import Bundle

    if args.bundle:
        _add_variants(args, Bundle.load(args.bundle))
        return 0
    bundle = _of_run(args) if args.run else _configured(args)
    _print(bundle)
    if args.to:
        _add_variants(args, bundle)
    return 0


def _print(bundle: Bundle) -> None:
    from tinysight.certificate.record import read_certificate

    print(f"bundle     {bundle.folder}")
    print(f"network    {len(bundle.model) / 1e6:.2f} MB")
    text = "scores within {0.max_score_difference:.2g}, {0.label_flips} labels differ"
    if parity := bundle.manifest.parity:
        print(f"parity     {parity.images} images, {text.format(parity)}")
    if recorded := read_certificate(bundle):
        for one in recorded[0].engines:
            print(f"certified  {one.engine}: {one.total.images} files, {text.format(one.total)}")
    for name, value in bundle.manifest.metrics.items():
        print(f"{name:<10} {value:.6g}")


def _of_run(args: argparse.Namespace) -> Bundle:
    if args.recipe or args.override:
        raise ConfigError("-c", "a run has a recipe of its own", "leave --run or -c out")
    from tinysight.export import export_bundle
    from tinysight.training.predictor import find_checkpoint

    checkpoint = find_checkpoint(args.run)
    run_folder = Path(args.run) if Path(args.run).is_dir() else checkpoint.parent
    out = Path(args.out) if args.out else run_folder / "bundle"
    return export_bundle(args.run, out, **_options(args, args.images))


def _configured(args: argparse.Namespace) -> Bundle:
    """Export the network and the weights of a PaddleClas configuration."""
    config = read_foreign_config(args, "--run")
    from tinysight.export import export_bundle

    out = Path(args.out or config.bundle_folder)
    images = args.images or config.label_source.images
    if images and not Path(images).exists() and not args.images:
        images = None
    return export_bundle(
        config.trained_weights, out, recipe=config.recipe, **_options(args, images)
    )


def _options(args: argparse.Namespace, images: str | None) -> dict[str, Any]:
    return {
        "images": images,
        "tolerance": args.tolerance,
        "overwrite": args.force,
        "licence": args.licence,
    }


def _add_variants(args: argparse.Namespace, bundle: Bundle) -> None:
    """Add the variants that `--to` names, and report their differences."""
    if not args.to:
        raise ConfigError("--to", "a bundle is given and no engine", f"known: {_ENGINES}")
    if not args.images and (args.bundle or not args.run):
        raise ConfigError("--images", "no image to check the variants on", "a folder or a list")
    from tinysight.export.variants import add_variants, evaluation_images, find_images

    classes = len(bundle.manifest.labels)
    done = add_variants(
        bundle,
        [name.strip() for name in args.to.split(",") if name.strip()],
        find_images(args.images, classes) if args.images else evaluation_images(args.run),
        precision=args.precision,
        calibrate=find_images(args.calibrate, classes) if args.calibrate else None,
        limit=args.max_difference,
        max_loss=args.max_loss,
        out=args.out if args.bundle else None,
        overwrite=args.force,
    )
    print(f"{'bundle':<15} {done.folder}")
    for name, variant in done.manifest.variants.items():
        size = sum(done.manifest.files[file].size for file in variant.files)
        lost = "" if variant.lost_points is None else f", {variant.lost_points:.2f} points lost"
        print(
            f"{name:<15} {size / 1e6:.2f} MB, {variant.images} images, scores within "
            f"{variant.max_score_difference:.2g} (mean {variant.mean_score_difference:.2g}), "
            f"{variant.label_flips} labels differ{lost}"
        )
