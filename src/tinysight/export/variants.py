"""Adds variants to a bundle: writes, runs and compares each with `model.onnx` before it is stored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinysight.bundle import SHIPPED, Bundle, fill, new_bundle
from tinysight.bundle.manifest import EngineVariant, Manifest
from tinysight.certificate.verify import renewed
from tinysight.data.lists import Sample, read_list, read_split
from tinysight.data.samples import UNLABELLED
from tinysight.engines import ALIASES, Engine, OnnxNetwork, get_engine, open_engine, open_variant
from tinysight.engines import package_version as version_of
from tinysight.engines.base import PRECISIONS
from tinysight.errors import ConfigError, DataError, ExportError, Problem, TinysightError
from tinysight.evaluation.compare import compare
from tinysight.evaluation.predictor import Predict, Predictions, predict_all
from tinysight.pipelines.sources import Source, iter_images
from tinysight.registry import engines
from tinysight.tasks.base import Task, task_of_bundle, task_of_recipe
from tinysight.transforms import Compose

LIMITS = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of a score; int8 is judged by its labels
_BATCH = 8
_CALIBRATION = 128  # images at most
_COMPARED = 1000  # images at most, evenly spread


def spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most `most` of the images, evenly spread."""
    return list(samples[:: max(1, -(-len(samples) // most))])


def files_of(source: Source) -> list[Sample]:
    """The image files of a source, without labels.

    Raises:
        DataError: there are none.
    """
    paths = (image.data for image in iter_images(source))
    return [Sample(Path(path), UNLABELLED, 0) for path in paths if isinstance(path, str)]


def find_images(
    source: str | Path, classes: int, most: int = _COMPARED, names: Sequence[str] = ()
) -> list[Sample]:
    """At most `most` images of a folder, a pattern or a list, evenly spread; labelled if the list has class ids.

    A CSV file may have the `names` of the classes instead. Of 0 classes: a list may have identities.

    Raises:
        DataError: there are none.
    """
    path = Path(source)
    if path.suffix in (".txt", ".csv") and path.is_file():
        with suppress(DataError):  # else it is a list of paths alone
            target = "class" if classes else "identity"
            found = read_list(path, path.parent, classes or None, target=target, names=names)
            return spread(found, most)
    return spread(files_of(str(source)), most)


def predict_images(manifest: Manifest, samples: Sequence[Sample], predict: Predict) -> Predictions:
    """Call `predict` with the network's inputs (N, C, H, W) float32 for the images that can be read."""
    return predict_all(predict, samples, Compose.from_specs(manifest.transforms), _BATCH)


def add_variants(
    bundle: Bundle, names: Sequence[str], checked_on: Sequence[Sample], *, precision: str = "fp32",
    calibrate: Sequence[Sample] = (), limit: float | None = None, max_loss: float = 0.5,
    out: str | Path | None = None, overwrite: bool = False,
) -> Bundle:  # fmt: skip
    """Write the network of `bundle` in the formats of other engines, beside `model.onnx`.

    Every variant is loaded again from the files that were written, run on the images, and compared with
    the scores of `model.onnx`. If one is refused the bundle stays as it was. The certificate of a
    bundle that has one is made again, with a column for each variant.

    Args:
        bundle: of a classifier, an embedding or our detector, in a folder that can be written.
        names: names of engines.
        checked_on: images to compare on; labels, if all have one, give the lost accuracy.
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
    manifest, where = bundle.manifest, str(bundle.folder)
    whole = all(get_engine(name).reads_onnx for name in names)
    named = bool(manifest.labels) or task_of_bundle(manifest).whole_labels
    if not named or manifest.feeds or (manifest.more_outputs and not whole):
        what = "only networks of labels or embeddings are written for other engines, and our detectors for openvino"
        raise ExportError(where, what)
    if out is None and bundle.folder.resolve().parent == SHIPPED.resolve():
        what = f"{bundle.folder.name} came with the package and stays as it is"
        raise ConfigError("--out", what, "name a folder for a copy")
    folder = bundle.folder if out is None else Path(out)
    chosen = _chosen(names, precision)
    written = _written(where, chosen, precision, _network(bundle, precision, calibrate))
    if not written and out is None:
        return bundle
    files = {name: bundle.read(name) for name in manifest.files}
    added = manifest.variants | {name: variant for name, (variant, _) in written.items()}
    for _, contents in written.values():
        files |= contents
    with new_bundle(folder, overwrite=overwrite or out is None) as draft:
        fill(draft, manifest._replace(variants=added), files)
        loaded = Bundle.load(draft)
        compared = _compare(loaded, list(written), checked_on)
        if problems := [p for n, v in compared.items() if (p := breach(n, v, limit, max_loss))]:
            raise ExportError.of(where, problems)
        files, breaches = renewed(loaded)
        if breaches:
            raise ExportError.of(f"certificate of {where}", breaches)
        fill(draft, manifest._replace(variants=added | compared), files)
        finished = Bundle.load(draft)
        if out is None:  # what lies there unsealed, such as its latency card, stays
            for path in bundle.folder.iterdir():
                if path.is_file() and not (draft / path.name).exists():
                    shutil.copy2(path, draft / path.name)
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


def _network(bundle: Bundle, precision: str, calibrate: Sequence[Sample]) -> OnnxNetwork:
    _, *sides = bundle.manifest.input.shape
    channels, height, width = (int(side or 0) for side in sides)
    if 0 in (channels, height, width):
        what = "its input has no fixed size"
        raise ExportError(str(bundle.folder), what, "export it with the size of its transforms")
    typical = None
    if precision == "int8":
        if not calibrate:
            what = "int8 needs typical images to calibrate on"
            raise ConfigError("--calibrate", what, "a folder or a list of a few hundred")
        images = spread(calibrate, _CALIBRATION)
        typical = predict_images(bundle.manifest, images, lambda inputs: inputs).outputs
    return OnnxNetwork(bundle.model, (channels, height, width), typical)


def _written(
    where: str, chosen: Mapping[str, type[Engine]], precision: str, network: OnnxNetwork
) -> dict[str, tuple[EngineVariant, dict[str, bytes]]]:
    """The variants, not yet compared, and the contents of their files."""
    end = "" if precision == "fp32" else precision
    names = {engine: name for name, engine in ALIASES.items()}
    written = {}
    problems: list[Problem] = []
    for name, engine in chosen.items():
        try:
            files = engine.write(network, precision, ".".join(filter(None, ("model", end))))
        except TinysightError as error:
            if len(chosen) == 1:
                raise
            problems += error.problems
            continue
        if files:
            made_with = {package: version_of(package) for package in engine.packages}
            variant = EngineVariant(tuple(files), precision, 0, 0.0, 0.0, 0, None, made_with)
            written["-".join(filter(None, (names.get(name, name), end)))] = variant, files
    if problems:
        raise ExportError.of(where, problems)
    return written


def _compare(
    bundle: Bundle, names: Sequence[str], samples: Sequence[Sample]
) -> dict[str, EngineVariant]:
    """The variants of these names with how far their scores lie from those of `model.onnx`.

    Raises:
        ExportError: none of the images can be read.
    """
    if not names:
        return {}
    opened = [open_engine(bundle), *(open_variant(bundle, name) for name in names)]
    manifest = bundle.manifest
    task = task_of_bundle(manifest)
    sides = [predict_images(manifest, samples, task.predict_with(e, manifest)) for e in opened]
    expected, *others = sides
    if not len(expected.outputs):
        raise ExportError("--images", "none of the images can be read", "name others")
    threshold = manifest.threshold.value if manifest.threshold else 0.5
    given, more = expected.outputs, (expected.targets, task, threshold)
    pairs = zip(names, (side.outputs for side in others), strict=True)
    return {n: compare_variant(manifest.variants[n], given, other, *more) for n, other in pairs}


def compare_variant(
    variant: EngineVariant, exact: np.ndarray, scores: np.ndarray, labels: np.ndarray | None = None,
    task: Task | None = None, threshold: float = 0.5,
) -> EngineVariant:  # fmt: skip
    """`variant` with the differences of its scores from the `exact` ones of `model.onnx`, as its task counts them."""
    task = task or Task()
    row = compare(*(task.results(side, threshold) for side in (exact, scores)))
    lost = None if labels is None else task.lost_points(exact, scores, labels)
    flips = task.flips(exact, scores)
    return variant._replace(
        images=row.images, max_score_difference=row.max_score_difference, lost_points=lost,
        mean_score_difference=row.mean_score_difference,
        label_flips=(row.label_flips or 0) if flips is None else flips,
    )  # fmt: skip


def breach(name: str, found: EngineVariant, limit: float | None, max_loss: float) -> Problem | None:
    """Why a compared variant may not be shipped, if so.

    Args:
        name: name of the variant.
        found: the variant and its comparison.
        limit: largest accepted difference of a score; default: that of the precision.
        max_loss: largest accepted loss of int8 where there is no `limit`, in percentage points: of accuracy,
            or where nothing is labelled of labels that stay.
    """
    if found.precision == "int8" and limit is None:
        lost, kind = found.lost_points, "points of accuracy are lost"
        if lost is None:
            lost, kind = 100 * found.label_flips / found.images, "% of the labels change"
        if lost <= max_loss and np.isfinite(found.max_score_difference):
            return None
        what = f"{lost:.2f} {kind} on {found.images} images, accepted are {max_loss:g}"
        hint = "calibrate on more, or more typical, images, or accept it with --max-loss"
        return Problem(name, what, hint)
    accepted = LIMITS[found.precision] if limit is None else limit
    if found.max_score_difference <= accepted:
        return None
    what = f"scores differ by up to {found.max_score_difference:.3g} from model.onnx on "
    what += f"{found.images} images, {found.label_flips} labels change; accepted: {accepted:g}"
    return Problem(name, what, "please report it, with the bundle")


def evaluation_images(run: str | Path) -> list[Sample]:
    """Images that a run was evaluated on, at most 500, with their class ids where each has one.

    Raises:
        CheckpointError: there is no such run or checkpoint.
        DataError: its evaluation list is empty or cannot be read.
    """
    from tinysight.training.predictor import load_model

    recipe = load_model(run)[1]
    samples = read_split(recipe.data, recipe.data.first_eval)
    if not len(samples):
        raise DataError("--images", "the run's evaluation list is empty", "name images")
    task = task_of_recipe(recipe)
    if task.whole_labels:  # whole identities, which have something to find
        return [samples[i] for i in np.argsort(samples.labels, kind="stable")[:500].tolist()]
    if not (task.one_class or samples.truth.dtype == object):
        samples = samples.with_labels(np.full(len(samples), UNLABELLED, np.int32))
    return spread(samples, 500)
