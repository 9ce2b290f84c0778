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
    add_plugin(parser)


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


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """`--plugin FILE.py`, as often as wanted; the command line loads them before the verb runs."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="run a Python file that registers components of your own; may be repeated",
    )
