"""Add forms for other engines to a bundle: written, run, compared, and only then there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from tinysight.bundle import SHIPPED, Bundle, fill, new_bundle
from tinysight.bundle.manifest import Variant as Form
from tinysight.certificate.verify import renewed
from tinysight.engines.int8 import quantize
from tinysight.engines.onnxruntime import OnnxSession
from tinysight.engines.variants import open_target
from tinysight.engines.writers.base import PRECISIONS, Network, Target, check_precision
from tinysight.engines.writers.check import Comparison, Images, batches, compare
from tinysight.errors import ConfigError, ExportError, Problem, TinysightError
from tinysight.registry import targets

_CALIBRATION = 128  # images at most


def add_targets(
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
    """Write the network of `bundle` in the forms of other engines, beside `model.onnx`.

    Every form is loaded again from the files that were written, shown the images, and compared with
    what `model.onnx` answers. If one is refused the bundle stays as it was. The certificate of a
    bundle that has one is made again, with a column for each form.

    Args:
        bundle: of a classifier, in a folder that can be written.
        names: of targets.
        checked_on: images to compare on.
        precision: "fp32", "fp16", "bf16" or "int8".
        calibrate: typical images, for int8.
        limit: largest accepted difference of a score; default: by precision, and for int8 none.
        max_loss: accepted loss of int8 in per cent points, of accuracy on labelled images, else of
            labels that stay.
        out: folder of a copy that gets the forms in place of `bundle`.
        overwrite: replace a bundle at `out`.

    Raises:
        UnknownName: there is no such target.
        ConfigError: a target has no such precision, or int8 without images to calibrate on; or the bundle
            is one that came with the package, and there is no `out`.
        MissingDependency: a converter or engine is not installed.
        ExportError: forms that cannot be written here, or that answer otherwise; all of them at once.
    """
    manifest = bundle.manifest
    if not manifest.labels or manifest.feeds or manifest.more_outputs:
        raise ExportError(str(bundle.folder), "only classifiers are written in other forms")
    if out is None and bundle.folder.resolve().parent == SHIPPED.resolve():
        what = f"{bundle.folder.name} came with the package and stays as it is"
        raise ConfigError("--out", what, "name a folder for a copy")
    folder = bundle.folder if out is None else Path(out)
    if precision not in PRECISIONS:
        raise ConfigError("--precision", f"there is no {precision}", ", ".join(PRECISIONS))
    chosen: dict[str, Target] = {}
    for name in dict.fromkeys(targets.resolve(name, "--to") for name in names):
        target: Target = targets.get(name)()
        check_precision(name, target, precision)
        chosen[name] = target
    network = _network(bundle, precision, calibrate)
    stem = "model" if precision == "fp32" else f"model.{precision}"
    files = {name: bundle.read(name) for name in manifest.files}
    forms, problems = dict(manifest.variants), list[Problem]()
    added: dict[str, Form] = {}
    for name, target in chosen.items():
        try:
            written = target.write(network, precision, stem)
        except TinysightError as error:
            if len(chosen) == 1:
                raise
            problems += error.problems
            continue
        if written:
            key = name if precision == "fp32" else f"{name}-{precision}"
            files |= written
            made_with = {package: _version(package) for package in target.packages}
            added[key] = Form(tuple(written), precision, 0, 0.0, 0.0, 0, None, made_with)
    if problems:
        raise ExportError.of(str(bundle.folder), problems)
    if not added and out is None:
        return bundle
    with new_bundle(folder, overwrite=overwrite or out is None) as draft:
        fill(draft, manifest._replace(variants=forms | added), files)
        drafted = Bundle.load(draft)
        measured = compare(
            manifest,
            checked_on,
            OnnxSession(drafted.model),
            {key: open_target(drafted, key) for key in added},
        )
        for key, result in measured.items():
            try:
                result.refuse(key, precision, limit, max_loss)
            except ExportError as error:
                problems += error.problems
        if problems:
            raise ExportError.of(str(bundle.folder), problems)
        forms |= {key: _with_figures(added[key], result) for key, result in measured.items()}
        fill(draft, manifest._replace(variants=forms), files)
        certified, breaches = renewed(Bundle.load(draft))
        if breaches:
            raise ExportError.of(f"certificate of {bundle.folder}", breaches)
        fill(draft, manifest._replace(variants=forms), certified)
        finished = Bundle.load(draft)
        if out is None:
            _keep_unsealed(bundle.folder, draft)
    return replace(finished, folder=folder)


def _network(bundle: Bundle, precision: str, calibrate: Images | None) -> Network:
    _, *sides = bundle.manifest.input.shape
    channels, height, width = (int(side or 0) for side in sides)
    if 0 in (channels, height, width):
        what = "its input has no fixed size"
        raise ExportError(str(bundle.folder), what, "export it with the size of its transforms")
    network = Network(bundle.model, (channels, height, width))
    if precision != "int8":
        return network
    if calibrate is None:
        what = "int8 needs typical images to calibrate on"
        raise ConfigError("--calibrate", what, "a folder or a list of a few hundred")
    shown = [batch for batch, _ in batches(bundle.manifest, calibrate.spread(_CALIBRATION))]
    network.quantized = quantize(bundle.model, shown)
    return network


def _keep_unsealed(folder: Path, draft: Path) -> None:
    """Files that lie in a bundle's folder and are no part of it, such as its latency card."""
    for path in folder.iterdir():
        if path.is_file() and not (draft / path.name).exists():
            shutil.copy2(path, draft / path.name)


def _with_figures(form: Form, result: Comparison) -> Form:
    return form._replace(
        images=result.images,
        max_score_difference=result.max_score_difference,
        mean_score_difference=result.mean_score_difference,
        label_flips=result.label_flips,
        lost_points=result.lost_points,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
