"""Make a bundle of a run.

    tinysight export --run runs/mine
    tinysight export --run runs/mine --out bundles/mine --images some/images --force
    tinysight export --run runs/mine --to openvino,ncnn,mnn
    tinysight export --bundle bundles/mine --to openvino --precision int8 --calibrate images/
    tinysight export -c X.yaml -o Global.pretrained_model=... -o Global.save_inference_dir=...

The bundle is compared with the network on real images first, and only written if both agree; so
is every form for another engine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_recipe, read_foreign_config
from tinysight.cli.targets import add_forms, add_target_arguments
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("--run", metavar="DIR", help="run folder, or a checkpoint")
    add_recipe(parser, required=False, text="a PaddleClas configuration, in place of --run")
    add("--out", metavar="DIR", help="the bundle's folder; default: bundle/ in the run folder")
    add("--images", metavar="SOURCE", help="more images to compare on: folder, pattern or list")
    add("--tolerance", type=float, default=1e-4, metavar="D", help="accepted score difference")
    add("--licence", default="", metavar="TEXT", help="of the network, for its card")
    add("--bundle", metavar="DIR", help="in place of --run: add forms (--to) to this bundle")
    add_target_arguments(parser)
    add("--force", action="store_true", help="replace a bundle that is there already")


def run(args: argparse.Namespace) -> int:
    """Export and say what was proved."""
    from tinysight.certificate.record import read_certificate

    if args.bundle:
        return add_forms(args, args.bundle)
    bundle = _of_run(args) if args.run else _configured(args)
    print(f"bundle     {bundle.folder}")
    print(f"network    {len(bundle.model) / 1e6:.2f} MB")
    if parity := bundle.manifest.parity:
        print(
            f"parity     {parity.images} images, scores within "
            f"{parity.max_score_difference:.2g}, {parity.label_flips} labels differ"
        )
    if recorded := read_certificate(bundle):
        for one in recorded[0].engines:
            total = one.total
            print(
                f"certified  {one.engine}: {total.images} files, scores within "
                f"{total.max_score_difference:.2g}, {total.label_flips} labels differ"
            )
    for name, value in bundle.manifest.metrics.items():
        print(f"{name:<10} {value:.6g}")
    return add_forms(args, bundle.folder) if args.to else 0


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
