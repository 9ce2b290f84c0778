"""Make a bundle of a run.

    tinysight export --run runs/mine
    tinysight export --run runs/mine --out bundles/mine --images some/pictures --force

The bundle is compared with the network on real pictures first, and only written if both agree.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="run folder, or a checkpoint")
    add("--out", metavar="DIR", help="the bundle's folder; default: bundle/ in the run folder")
    add("--images", metavar="SOURCE", help="more pictures to compare on: folder, pattern or list")
    add("--tolerance", type=float, default=1e-4, metavar="D", help="accepted score difference")
    add("--licence", default="", metavar="TEXT", help="of the network, for its card")
    add("--force", action="store_true", help="replace a bundle that is there already")


def run(args: argparse.Namespace) -> int:
    """Export and say what was proved."""
    from tinysight.export import export_bundle
    from tinysight.train.predictor import find_checkpoint

    checkpoint = find_checkpoint(args.run)
    run_folder = Path(args.run) if Path(args.run).is_dir() else checkpoint.parent
    out = Path(args.out) if args.out else run_folder / "bundle"
    bundle = export_bundle(
        args.run,
        out,
        images=args.images,
        tolerance=args.tolerance,
        overwrite=args.force,
        licence=args.licence,
    )
    print(f"bundle     {bundle.folder}")
    print(f"network    {len(bundle.model) / 1e6:.2f} MB")
    if parity := bundle.manifest.parity:
        print(
            f"parity     {parity.pictures} pictures, scores within "
            f"{parity.max_score_difference:.2g}, {parity.label_flips} labels differ"
        )
    for name, value in bundle.manifest.metrics.items():
        print(f"{name:<10} {value:.6g}")
    return 0
