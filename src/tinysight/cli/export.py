"""Make a bundle of a run.

    tinysight export --run runs/mine
    tinysight export --run runs/mine --out bundles/mine --images some/images --force
    tinysight export --run runs/mine --to openvino,ncnn,mnn
    tinysight export --bundle bundles/mine --to openvino --precision int8 --calibrate images/
    tinysight export --system bundles/shelf --detector bundles/boxes --embedder bundles/embedder
    tinysight export -c X.yaml -o Global.pretrained_model=... -o Global.save_inference_dir=...

The bundle is compared with the network on real images first, and only written if both agree; so
is every variant for another engine.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_recipe, read_foreign_config
from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle

_ENGINES = "openvino, ncnn, mnn, executorch, litert, torchscript, pt2, onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from tinysight.bundle.system import Rules

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
    text = "largest loss of int8 in percentage points (0.5): of accuracy if --images is a labelled list, "
    text += "else of labels that change"
    add("--max-loss", type=float, default=0.5, metavar="POINTS", help=text)
    text = "accepted score difference of the variants"
    add("--max-difference", type=float, metavar="D", help=text)
    add("--system", metavar="DIR", help="make a system of --detector and --embedder here")
    add("--detector", metavar="DIR", help="bundle of boxes of a system; none: whole images")
    add("--embedder", metavar="DIR", help="bundle of embeddings of a system")
    text = f"of a system: {', '.join(Rules._fields)}"
    add("--rule", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)
    add("--force", action="store_true", help="replace an existing bundle or system")


def run(args: argparse.Namespace) -> int:
    """Export and report the checks."""
    from tinysight.bundle import Bundle

    if args.system:
        return _system(args)
    if args.bundle:
        _add_variants(args, Bundle.load(args.bundle))
        return 0
    bundle = _export(args)
    _print(bundle)
    if args.to:
        _add_variants(args, bundle)
    return 0


def _system(args: argparse.Namespace) -> int:
    """Make a system of two bundles; they are copied in."""
    from tinysight.bundle import Bundle
    from tinysight.bundle.manifest import utc_now
    from tinysight.bundle.sealed import EXPORT_AGAIN, read_keys
    from tinysight.bundle.system import Rules, System, SystemManifest
    from tinysight.errors import BundleError
    from tinysight.files import parse_yaml
    from tinysight.pipelines.recognize import DETECTOR, EMBEDDER, members_of

    if not args.embedder:
        raise ConfigError("--embedder", "which bundle?", "a folder of one of embeddings")
    others = {
        "--run": args.run,
        "-c": args.recipe,
        "--bundle": args.bundle,
        "--to": args.to,
        "--out": args.out,
    }
    for option in (name for name, value in others.items() if value):
        raise ConfigError(option, "is not of a system", "make the system by itself, of two bundles")
    named = {EMBEDDER: args.embedder, **({DETECTOR: args.detector} if args.detector else {})}
    members = {name: Bundle.load(folder) for name, folder in named.items()}
    pairs = [text.partition("=") for text in args.rule]
    given = {key: parse_yaml(value, f"--rule {key}") for key, _, value in pairs}
    try:
        rules = read_keys(Rules, given, "--rule", (), Rules._fields)
    except BundleError as error:
        where, what, hint = error.problems[0]
        hint = hint.replace(EXPORT_AGAIN, "`docs/recognize.md` has the rules")
        raise ConfigError(where, what, hint) from None
    manifest = SystemManifest(Path(args.system).name, {}, rules, created=utc_now())
    members_of(System(Path(args.system), manifest, members))  # of the right kinds
    made = System.write(args.system, manifest, members, overwrite=args.force)
    print(f"system     {made.folder}")
    for name, bundle in made.members.items():
        print(f"{name:<10} {bundle.manifest.task}, {len(bundle.model) / 1e6:.2f} MB")
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


def _export(args: argparse.Namespace) -> Bundle:
    """Export a run, or the network and the weights of a PaddleClas configuration."""
    weights, recipe, images, out = args.run, None, args.images, args.out
    if args.run:
        if args.recipe or args.override:
            raise ConfigError("-c", "a run has a recipe of its own", "leave --run or -c out")
        from tinysight.training.predictor import find_checkpoint

        folder = find_checkpoint(args.run).parent
        out = out or (Path(args.run) if Path(args.run).is_dir() else folder) / "bundle"
    else:
        config = read_foreign_config(args, "--run")
        weights, recipe, out = config.trained_weights, config.recipe, out or config.bundle_folder
        images = images or config.label_source.images
        if images and not Path(images).exists() and not args.images:
            images = None
    from tinysight.export.bundle import export_bundle

    return export_bundle(
        weights, out, recipe=recipe, images=images, tolerance=args.tolerance,
        overwrite=args.force, licence=args.licence,
    )  # fmt: skip


def _add_variants(args: argparse.Namespace, bundle: Bundle) -> None:
    """Add the variants that `--to` names, and report their differences."""
    if not args.to:
        raise ConfigError("--to", "a bundle is given and no engine", f"known: {_ENGINES}")
    if not args.images and (args.bundle or not args.run):
        raise ConfigError("--images", "no image to check the variants on", "a folder or a list")
    from tinysight.export.variants import add_variants, evaluation_images, find_images

    labels = bundle.manifest.labels
    find = partial(find_images, classes=len(labels), names=labels)
    names = [name.strip() for name in args.to.split(",") if name.strip()]
    images = find(args.images) if args.images else evaluation_images(args.run)
    typical = find(args.calibrate) if args.calibrate else ()
    done = add_variants(
        bundle, names, images, precision=args.precision, calibrate=typical, overwrite=args.force,
        limit=args.max_difference, max_loss=args.max_loss, out=args.out if args.bundle else None,
    )  # fmt: skip
    print(f"{'bundle':<15} {done.folder}")
    for name, variant in done.manifest.variants.items():
        size = sum(done.manifest.files[file].size for file in variant.files)
        lost = "" if variant.lost_points is None else f", {variant.lost_points:.2f} points lost"
        text = f"{name:<15} {size / 1e6:.2f} MB, {variant.images} images, scores within "
        text += f"{variant.max_score_difference:.2g} (mean {variant.mean_score_difference:.2g}), "
        print(f"{text}{variant.label_flips} labels differ{lost}")
