"""Add the formats of other engines to a bundle: written, run, compared with `model.onnx`, and only then there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from tinysight.bundle import SHIPPED, Bundle, fill, new_bundle
from tinysight.bundle.manifest import EngineVariant, Manifest
from tinysight.certificate.verify import renewed
from tinysight.data.lists import read_list, read_split
from tinysight.engines import ALIASES, Engine, OnnxNetwork, get_engine, open_engine, open_variant
from tinysight.engines.base import PRECISIONS
from tinysight.errors import (
    ConfigError,
    DataError,
    ExportError,
    ImageError,
    Problem,
    TinysightError,
)
from tinysight.pipelines.sources import iter_images
from tinysight.registry import engines
from tinysight.transforms import Compose, decode, to_batch

LIMITS = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of a score; int8 is judged by its labels
_BATCH = 8
_CALIBRATION = 128  # images at most
_COMPARED = 1000  # images at most, evenly spread


@dataclass(frozen=True)
class Images:
    """Image files, and their class ids where they are known."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None = None

    def spread(self, most: int) -> Images:
        """At most this many of them, evenly spread."""
        step = max(1, -(-len(self.paths) // most))
        labels = None if self.labels is None else self.labels[::step]
        return Images(self.paths[::step], labels)


def find_images(source: str | Path, classes: int, most: int = _COMPARED) -> Images:
    """The images of a folder, a pattern or a list; with class ids if it is a list that has them.

    Raises:
        DataError: there are none.
    """
    path = Path(source)
    if path.suffix in (".txt", ".csv") and path.is_file():
        try:
            samples = read_list(path, path.parent, classes)
        except DataError:
            pass  # a list of paths alone, then
        else:
            labels = tuple(int(sample.label) for sample in samples)
            return Images(tuple(sample.path for sample in samples), labels).spread(most)
    found = (image.data for image in iter_images(str(source)))
    return Images(tuple(Path(data) for data in found if isinstance(data, str))).spread(most)


def add_variants(
    bundle: Bundle,
    names: Sequence[str],
    checked_on: Images,
    *,
    precision: str = "fp32",
    calibrate: Images | None = None,
    limit: float | None = None,
    max_loss: float = 0.5,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write the network of `bundle` in the formats of other engines, beside `model.onnx`.

    Every variant is loaded again from the files that were written, shown the images, and compared with
    the scores of `model.onnx`. If one is refused the bundle stays as it was. The certificate of a
    bundle that has one is made again, with a column for each variant.

    Args:
        bundle: a classifier's bundle, in a folder that can be written.
        names: names of engines.
        checked_on: images to compare on.
        precision: "fp32", "fp16", "bf16" or "int8".
        calibrate: typical images, for int8.
        limit: largest accepted difference of a score; default: by precision, and for int8 none.
        max_loss: accepted loss of int8 in percentage points, of accuracy on labelled images, else of
            labels that stay.
        out: folder of a copy that gets the variants in place of `bundle`.
        overwrite: True to replace a bundle at `out`.

    Raises:
        UnknownName: there is no such engine.
        ConfigError: an engine has no such precision, or int8 without images to calibrate on; or the bundle
            is one that came with the package, and there is no `out`.
        MissingDependency: a converter or engine is not installed.
        ExportError: variants that cannot be written here, or whose scores differ; all of them at once.
    """
    manifest = bundle.manifest
    if not manifest.labels or manifest.feeds or manifest.more_outputs:
        what = "only classifiers are written for other engines"
        raise ExportError(str(bundle.folder), what)
    if out is None and bundle.folder.resolve().parent == SHIPPED.resolve():
        what = f"{bundle.folder.name} came with the package and stays as it is"
        raise ConfigError("--out", what, "name a folder for a copy")
    folder = bundle.folder if out is None else Path(out)
    chosen = _chosen(names, precision)
    written = _written(bundle, chosen, precision, _network(bundle, precision, calibrate))
    if not written and out is None:
        return bundle
    files = {name: bundle.read(name) for name in manifest.files}
    for _, contents in written.values():
        files |= contents
    with new_bundle(folder, overwrite=overwrite or out is None) as draft:
        added = {key: variant for key, (variant, _) in written.items()}
        fill(draft, manifest._replace(variants=manifest.variants | added), files)
        added = _compared(Bundle.load(draft), added, checked_on)
        problems = [p for name, v in added.items() if (p := breach(name, v, limit, max_loss))]
        if problems:
            raise ExportError.of(str(bundle.folder), problems)
        manifest = manifest._replace(variants=manifest.variants | added)
        fill(draft, manifest, files)
        certified, breaches = renewed(Bundle.load(draft))
        if breaches:
            raise ExportError.of(f"certificate of {bundle.folder}", breaches)
        fill(draft, manifest, certified)
        finished = Bundle.load(draft)
        if out is None:
            _copy_unsealed(bundle.folder, draft)
    return replace(finished, folder=folder)


def _chosen(names: Sequence[str], precision: str) -> dict[str, type[Engine]]:
    """The engines by name."""
    if precision not in PRECISIONS:
        raise ConfigError("--precision", f"there is no {precision}", ", ".join(PRECISIONS))
    chosen = {}
    for name in names:
        engine = get_engine(name, "--to")
        chosen[engines.resolve(ALIASES.get(name, name))] = engine
        if precision not in engine.precisions:
            what = f"{name} is not written in {precision} here"
            raise ConfigError("--precision", what, f"it has {', '.join(engine.precisions)}")
    return chosen


def _network(bundle: Bundle, precision: str, calibrate: Images | None) -> OnnxNetwork:
    _, *sides = bundle.manifest.input.shape
    channels, height, width = (int(side or 0) for side in sides)
    if 0 in (channels, height, width):
        what = "its input has no fixed size"
        raise ExportError(str(bundle.folder), what, "export it with the size of its transforms")
    typical: list[np.ndarray] = []
    if precision == "int8":
        if calibrate is None:
            what = "int8 needs typical images to calibrate on"
            raise ConfigError("--calibrate", what, "a folder or a list of a few hundred")
        images = calibrate.spread(_CALIBRATION)
        typical = [batch for batch, _ in batches(bundle.manifest, images)]
    return OnnxNetwork(bundle.model, (channels, height, width), typical)


def _written(
    bundle: Bundle, chosen: Mapping[str, type[Engine]], precision: str, network: OnnxNetwork
) -> dict[str, tuple[EngineVariant, dict[str, bytes]]]:
    """The variants, not yet compared, and the contents of their files."""
    stem, suffix = ("model", "") if precision == "fp32" else (f"model.{precision}", f"-{precision}")
    keys = {engine: name for name, engine in ALIASES.items()}
    written = {}
    problems: list[Problem] = []
    for name, engine in chosen.items():
        try:
            files = engine.write(network, precision, stem)
        except TinysightError as error:
            if len(chosen) == 1:
                raise
            problems += error.problems
            continue
        if files:
            made_with = {package: _version(package) for package in engine.packages}
            variant = EngineVariant(tuple(files), precision, 0, 0.0, 0.0, 0, None, made_with)
            written[keys.get(name, name) + suffix] = variant, files
    if problems:
        raise ExportError.of(str(bundle.folder), problems)
    return written


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _compared(
    bundle: Bundle, variants: Mapping[str, EngineVariant], images: Images
) -> dict[str, EngineVariant]:
    """The variants with how far their scores lie from those of `model.onnx`.

    Raises:
        ExportError: none of the images can be read.
    """
    runs = {name: open_variant(bundle, name).run for name in variants}
    exact = open_engine(bundle).run
    expected: list[np.ndarray] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    labels: list[int] | None = None if images.labels is None else []
    for batch, which in batches(bundle.manifest, images):
        expected.append(exact(batch))
        for name, run in runs.items():
            scores[name].append(run(batch))
        if labels is not None and images.labels is not None:
            labels += [images.labels[i] for i in which]
    if variants and not expected:
        raise ExportError("--images", "none of the images can be read", "name others")
    return {
        name: measured(variant, np.concatenate(expected), np.concatenate(scores[name]), labels)
        for name, variant in variants.items()
    }


def batches(manifest: Manifest, images: Images) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The network's input (N, C, H, W), and which images these are; unreadable ones are left out."""
    compose = Compose.from_specs(manifest.transforms)
    ready: list[np.ndarray] = []
    which: list[int] = []
    for i, path in enumerate(images.paths):
        try:
            ready.append(compose(decode(path)))
        except (ImageError, OSError):
            continue
        which.append(i)
        if len(ready) == _BATCH:
            yield to_batch(ready), which
            ready, which = [], []
    if ready:
        yield to_batch(ready), which


def measured(
    variant: EngineVariant,
    expected: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[int] | None = None,
) -> EngineVariant:
    """`variant` with the differences of its scores (N, K) from the `expected` ones of `model.onnx`."""
    difference = np.abs(expected.astype(np.float64) - scores)
    before, after = expected.argmax(axis=1), scores.argmax(axis=1)
    lost = None
    if labels is not None:
        right = [int((best == labels).sum()) for best in (before, after)]
        lost = 100 * (right[0] - right[1]) / len(expected)
    # Scores that are no numbers differ by more than any limit.
    largest = difference.max() if np.isfinite(difference).all() else np.inf
    return variant._replace(
        images=len(expected),
        max_score_difference=float(largest),
        mean_score_difference=float(difference.mean()),
        label_flips=int((before != after).sum()),
        lost_points=lost,
    )


def breach(
    name: str, variant: EngineVariant, limit: float | None, max_loss: float
) -> Problem | None:
    """Why a compared variant may not be shipped, if so.

    Args:
        name: name of the variant.
        variant: the comparison.
        limit: largest accepted difference of a score; default: that of the precision.
        max_loss: largest accepted loss of int8 where there is no `limit`, in percentage points: of accuracy,
            or where nothing is labelled of labels that stay.
    """
    if variant.precision == "int8" and limit is None:
        lost, kind = variant.lost_points, "points of accuracy are lost"
        if lost is None:
            lost, kind = 100 * variant.label_flips / variant.images, "% of the labels change"
        if lost <= max_loss and np.isfinite(variant.max_score_difference):
            return None
        what = f"{lost:.2f} {kind} on {variant.images} images, accepted are {max_loss:g}"
        hint = "calibrate on more, or more typical, images, or accept it with --max-loss"
        return Problem(name, what, hint)
    accepted = LIMITS.get(variant.precision, np.inf) if limit is None else limit
    if variant.max_score_difference <= accepted:
        return None
    what = (
        f"scores differ by up to {variant.max_score_difference:.3g} from model.onnx on "
        f"{variant.images} images, {variant.label_flips} labels change; accepted: {accepted:g}"
    )
    return Problem(name, what, "please report it, with the bundle")


def _copy_unsealed(folder: Path, draft: Path) -> None:
    """Copy files that lie in a bundle's folder and are no part of it, such as its latency card."""
    for path in folder.iterdir():
        if path.is_file() and not (draft / path.name).exists():
            shutil.copy2(path, draft / path.name)


def evaluation_images(run: str | Path) -> Images:
    """Images that a run was evaluated on, at most 500, with their class ids.

    Raises:
        CheckpointError: there is no such run or checkpoint.
        DataError: its evaluation list is empty or cannot be read.
    """
    from tinysight.tasks.base import task_of_recipe
    from tinysight.training.predictor import find_checkpoint, load_model

    recipe = load_model(find_checkpoint(run))[1]
    data = recipe.data
    samples = read_split(data, data.first_eval)
    if not len(samples):
        raise DataError("--images", "the run's evaluation list is empty", "name images")
    labels = None
    if task_of_recipe(recipe).one_class:
        labels = tuple(int(sample.label) for sample in samples)
    return Images(tuple(sample.path for sample in samples), labels).spread(500)
