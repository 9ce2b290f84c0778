"""An exported Paddle folder as a bundle: translated, with its transforms and labels. Needs neither torch nor Paddle."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight import __version__
from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import Input, Manifest, ShippedThreshold, utc_now
from tinysight.compat.paddle.catalog import class_names
from tinysight.compat.paddle.dialect.deploy import Deploy, default_transforms, read_deploy_config
from tinysight.compat.paddle.dialect.detector import DETECTOR_CONFIG, read_detector_config
from tinysight.compat.paddle.dialect.rules import Spec
from tinysight.compat.paddle.folder import find_files, read_paddle_inference
from tinysight.compat.paddle.kinds import CHANNELS, OUTPUTS, ExportKind, kind_of
from tinysight.errors import ConfigError, WeightsError
from tinysight.fetch import Artifact, extract
from tinysight.fetch.archive import content_of
from tinysight.files import sha256
from tinysight.graph.builder import Unsupported
from tinysight.graph.onnx_file import OnnxModel, read_onnx
from tinysight.registry import engines, postprocesses
from tinysight.transforms import Compose

INPUT = "images"
_TOPK = 5
_CONFIGS = ("inference.yml", "inference.yaml")  # newer exports carry their own configuration
_ARCHIVES = (".tar", ".tgz", ".gz", ".zip")


class Imported(NamedTuple):
    """A bundle that was made, and what had to be assumed for it, one sentence each."""

    bundle: Bundle
    notes: tuple[str, ...]


def import_paddle(
    source: Path | str, out: Path | str, *, labels: Sequence[str] | None = None, deploy: Deploy | None = None,
    row: Artifact | None = None, task: str = "", overwrite: bool = False,
) -> Imported:  # fmt: skip
    """Translate an exported classifier, recognition network or detector into a bundle.

    Transforms and post-processing come from `deploy`, else from a configuration inside the export, else from `row`,
    else they are the usual ones of PaddleClas. Labels come from `labels`, then in that order, else they are class ids.

    Args:
        source: the folder, its program, or an archive of it (tar, tar.gz, zip).
        out: the bundle's folder; appears whole or not at all.
        labels: name of each class, in the order of the outputs.
        deploy: see `read_deploy_config`.
        row: the catalogue's row, for a fetched one.
        task: name of the model; default: the row's, or the source's.
        overwrite: replace a bundle at `out`.

    Raises:
        WeightsError: damaged files, operators that are not covered, or a network of no such kind.
        ConfigError: labels, transforms and network do not fit together.
        BundleError: `out` exists and may not be replaced.
    """
    notes: list[str] = []
    name = Path(source).name
    found, kind, model, origin = _translated(source, labels, deploy, row)
    use = found or _usual(kind, row, notes)
    height, width = _size(use.transforms, kind)
    published = class_names(row, kind.columns) if row else ()
    names = _labels(labels or use.labels or published, kind, notes)
    postprocess = _postprocess(use.postprocess, kind, names, notes)
    data = _with_size(model, kind.image, height, width)
    _try(data, (height, width), kind, str(source))
    threshold, (output, *more) = postprocess.get("threshold"), OUTPUTS[kind.output]
    chosen = f"the publisher's: {row.page}" if row else "usual"
    chosen = "set in the deploy configuration" if found else chosen
    python, numpy = platform.python_version(), str(np.__version__)
    manifest = Manifest(
        task=task or (row.name if row else name.split(".")[0].removesuffix("_infer")),
        description=f"Translated from the PaddlePaddle export {name}",
        licence=row.licence if row else "",
        input=Input(INPUT, (1 if kind.one else None, kind.channels, height, width), "float32"),
        output=output,
        transforms=use.transforms,
        postprocess=postprocess,
        labels=names,
        threshold=None if threshold is None else ShippedThreshold(threshold, chosen),
        recipe={"source": name, "sha256": origin, **({"url": row.urls[0]} if row else {})},
        made_with={"tinysight": __version__, "python": python, "numpy": numpy},
        created=utc_now(),
        feeds=dict(kind.feeds),
        more_outputs=tuple(more),
    )
    return Imported(Bundle.write(out, manifest, {MODEL: data}, overwrite=overwrite), tuple(notes))


def _translated(
    source: Path | str, labels: Sequence[str] | None, deploy: Deploy | None, row: Artifact | None
) -> tuple[Deploy | None, ExportKind, OnnxModel, dict[str, str]]:
    """The deploy configuration, if there is one, the kind of the network, its translation, the hashes of its files."""
    from tinysight.compat.paddle.to_onnx.detect import end_in_rows
    from tinysight.compat.paddle.to_onnx.translate import to_model

    with opened(source) as folder:
        if file := onnx_file(folder):
            kind, model = _from_onnx(file)
            origin = {file.name: sha256(file.read_bytes())}
            return deploy, kind, model, origin
        program, weights = find_files(folder)
        inside = next((p for n in _CONFIGS if (p := program.parent / n).is_file()), None)
        of_detector = program.parent / DETECTOR_CONFIG
        found = deploy or (read_deploy_config(inside) if inside else None)
        detector = read_detector_config(of_detector) if of_detector.is_file() else None
        paddle = read_paddle_inference(program)
        vectors = found is not None and _outputs(found) == "embedding"
        named = not vectors and bool(labels or found or (row and row.labels))
        kind = kind_of(paddle.program, str(source), named=named)
        inputs = [INPUT if i == kind.image else p.name for i, p in enumerate(paddle.program.inputs)]
        outputs = OUTPUTS[kind.output] if kind.boxes == "rows" else ()
        model = to_model(paddle, inputs, outputs)
        origin = {p.name: sha256(p.read_bytes()) for p in (program, weights)}
    if kind.output == "boxes" and detector:
        found, (height, width) = detector.deploy, detector.size
        kind = replace(kind, height=kind.height or height, width=kind.width or width)
    if kind.boxes != "rows":
        size = kind.height or 640, kind.width or 640
        try:
            model = end_in_rows(model, kind.boxes, size, **(detector.rule if detector else {}))
        except Unsupported as error:
            raise WeightsError(str(source), f"no detector that is known here: {error}") from None
    if kind.output != "boxes" and not kind.columns:
        match model.outputs[0].shape:
            case (_, int(count)) if count >= 1:
                kind = replace(kind, columns=count)
            case _:
                raise WeightsError(str(source), "its number of classes cannot be told")
    if found and found is deploy and kind.output != (of := _outputs(found)):
        what = f"is one of a network of {of}, but this one returns {kind.output}"
        raise ConfigError("deploy configuration", what)
    return found, kind, model, origin


def _outputs(deploy: Deploy) -> str:
    """What a network returns whose results are made as `deploy` says."""
    kinds = {"boxes": "boxes", "embedding": "embedding", "binarize": "embedding"}
    return kinds.get(deploy.postprocess["name"], "scores")


def onnx_file(folder: Path) -> Path | None:
    """`inference.onnx`, as paddle2onnx makes it, of a folder without a program."""
    file = folder / "inference.onnx"
    programs = (folder / f"inference{ending}" for ending in (".pdmodel", ".json"))
    return file if file.is_file() and not any(p.is_file() for p in programs) else None


def _from_onnx(file: Path) -> tuple[ExportKind, OnnxModel]:
    """The kind of a classifier in ONNX, and its network under our names."""
    try:
        model = read_onnx(file.read_bytes())
        (image,), (scores,) = model.inputs, model.outputs
        _, channels, height, width = image.shape
        classes = scores.shape[-1]
    except ValueError:
        what = "is no network with one input of images and one output of scores"
        raise WeightsError(str(file), what) from None
    last = {name: node for node in model.nodes for name in node.outputs}[scores.name].op
    if (
        last not in ("Softmax", "Sigmoid")
        or channels not in CHANNELS
        or not isinstance(classes, int)
    ):
        what = f"takes {channels} channels, ends in {last} and gives {classes} scores"
        raise WeightsError(str(file), f"{what}: no classifier of images")
    height, width = (side if isinstance(side, int) else 0 for side in (height, width))
    kind = ExportKind(
        "scores", 0, height, width, classes, independent=last == "Sigmoid", channels=channels
    )
    output = OUTPUTS["scores"][0]
    names = {image.name: INPUT, scores.name: output}

    def ours(old: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in old)

    nodes = (n._replace(inputs=ours(n.inputs), outputs=ours(n.outputs)) for n in model.nodes)
    inputs, outputs = (image._replace(name=INPUT),), (scores._replace(name=output),)
    return kind, replace(model, nodes=tuple(nodes), inputs=inputs, outputs=outputs)


def _postprocess(spec: Spec, kind: ExportKind, names: tuple[str, ...], notes: list[str]) -> Spec:
    """The post-processor with its defaults; checked against the labels."""
    checked, problems = postprocesses.check(spec, "postprocess")
    if problems:
        raise ConfigError.of("postprocess", problems)
    postprocesses.build(checked, "postprocess", labels=names)
    if kind.independent and checked["name"] == "topk":
        notes.append("the classes are independent (sigmoid); only the highest are shown")
    return checked


@contextmanager
def opened(source: Path | str) -> Iterator[Path]:
    """The folder of an export: itself, or the content of its archive for as long as the block lasts."""
    path = Path(source)
    if not path.exists():
        raise WeightsError(str(path), "no such file or folder")
    if path.is_dir() or path.suffix.lower() not in _ARCHIVES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tinysight-") as work:
        folder = Path(work) / "content"
        extract(path, folder)
        while (inner := content_of(folder)) != folder:
            folder = inner
        yield folder


def _usual(kind: ExportKind, row: Artifact | None, notes: list[str]) -> Deploy:
    """What PaddleClas' deploy configurations say where nobody says otherwise."""
    height, width = kind.height or 224, kind.width or 224
    exact = kind.output != "scores" or (row is not None and row.exact)
    steps = default_transforms(height, width, exact=exact)
    if kind.channels == 4:
        steps = (*steps, {"name": "append_channels", "channels": 4})
    highest = min(_TOPK, kind.columns)
    spec: Spec = {"name": "topk", "k": highest}
    shown = f"the {highest} highest-scoring classes"
    if kind.output == "embedding":
        spec, shown = {"name": "embedding"}, f"an embedding of {kind.columns} numbers, of length 1"
    elif kind.output == "boxes":
        steps = ({**steps[0], "interpolation": "bicubic"}, *steps[1:])
        spec, shown = {"name": "boxes", "threshold": 0.5}, "the boxes with a score above 0.5"
    elif row and row.name in postprocesses:  # person_attribute and its like have one of their own
        spec = {"name": row.name}
    elif kind.independent:
        spec = {"name": "multilabel", "threshold": 0.5}
        shown = "every class with a probability of 0.5 or more"
    elif row and row.threshold is not None and kind.columns == 2:
        spec = {"name": "threshold", "threshold": row.threshold, "positive": 1}
    if row is None:
        through = f"{', '.join(map(_in_words, steps))}; check that training did the same"
        notes.append(f"no --deploy-config: images go through {through}")
        notes.append(f"no --deploy-config: the result is {shown}")
    return Deploy(steps, spec, None)


def _in_words(step: dict[str, Any]) -> str:
    if "mean" in step:
        return f"{step['name']} mean {step['mean']} std {step['std']} scale {step['scale']}"
    if short := step.get("short"):
        return f"{step['name']} {short} (short side)"
    return f"{step['name']} {step.get('size') or step['channels']}"


def _size(steps: Sequence[dict[str, Any]], kind: ExportKind) -> tuple[int, int]:
    got = Compose.from_specs(steps, "transforms").output_shape()
    if got != (kind.height or got[0], kind.width or got[1], kind.channels):
        takes = f"{kind.width} x {kind.height} x {kind.channels}"
        what = f"give images of {got[1]} x {got[0]} x {got[2]}, the network takes {takes}"
        raise ConfigError("transforms", what, "is it the deploy configuration of this network?")
    return got[0], got[1]


def _labels(names: Sequence[str], kind: ExportKind, notes: list[str]) -> tuple[str, ...]:
    classes, boxes = kind.columns, kind.output == "boxes"
    if kind.output == "embedding":
        return ()
    if not names:
        which = "classes of the boxes" if boxes else f"{classes} classes"
        notes.append(f"no --labels: the {which} are called by their ids")
        names = [] if boxes else [*map(str, range(classes))]
    if len(names) != classes and not boxes:
        what = f"{len(names)} labels for {classes} classes"
        hint = "in a deploy configuration: PostProcess, class_id_map_file" if classes else ""
        raise ConfigError("labels", what, hint)
    return tuple(names)


def _with_size(model: OnnxModel, image: int, height: int, width: int) -> bytes:
    inputs = list(model.inputs)
    inputs[image] = inputs[image]._replace(shape=(*inputs[image].shape[:2], height, width))
    return replace(model, inputs=tuple(inputs)).to_bytes()


def _try(model: bytes, size: tuple[int, int], kind: ExportKind, where: str) -> None:
    """Run two images, or one: a network that does not return what it should becomes no bundle."""
    session, count = engines.build({"name": "onnxruntime"}, model=model, threads=1), 2 - kind.one
    feeds = {name: np.ones((count, 2), np.float32) for name in kind.feeds}
    outputs = session.run_all({INPUT: np.zeros((count, kind.channels, *size), np.float32), **feeds})
    if kind.output == "boxes":
        good = outputs[0].shape == (outputs[1].sum(), 6) and outputs[1].size == count
    else:
        good = outputs[0].shape == (2, kind.columns) and bool(np.isfinite(outputs[0]).all())
    if not good:
        what = f"translated, but returns {', '.join(str(o.shape) for o in outputs)} for 2 images"
        raise WeightsError(where, what, "please report it")
