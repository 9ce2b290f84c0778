"""Arguments that several verbs share."""

from __future__ import annotations

import argparse


def add_recipe(parser: argparse.ArgumentParser, *, required: bool, text: str = "") -> None:
    """`-c RECIPE` and `-o KEY=VALUE`; `--config` is PaddleClas' spelling."""
    parser.add_argument(
        "-c",
        "--recipe",
        "--config",
        required=required,
        metavar="RECIPE",
        help=text or "a shipped recipe's name, a recipe file, or a PaddleClas configuration",
    )
    add_override(parser)


def add_override(parser: argparse.ArgumentParser) -> None:
    """`-o KEY=VALUE ...`, as often as wanted."""
    parser.add_argument(
        "-o",
        "--override",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change one value, for example -o train.epochs=5 or -o transforms.train.0.size=96",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine`, `--precision` and `--exact`: how a bundle is run."""
    add = parser.add_argument
    engines = "onnxruntime (default), openvino, or target/NAME: a variant that the bundle has"
    add("--engine", default="onnxruntime", metavar="NAME", help=engines)
    add("--precision", default="f32", metavar="P", help="of openvino: f32 (default), bf16, f16")
    add("--exact", action="store_true", help="decode whole, whatever the bundle allows")
