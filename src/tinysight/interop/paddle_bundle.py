"""An exported Paddle folder as a bundle: translated, told how it is used, sealed. Needs neither torch nor Paddle."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinysight import __version__
from tinysight.bundle import MODEL, Bundle
from tinysight.errors import ConfigError, WeightsError
from tinysight.fetch import Artifact, extract
from tinysight.files import sha256
from tinysight.interop.deploy_config import Deploy, default_transforms, read_deploy_config
from tinysight.interop.onnx_format import OnnxModel
from tinysight.interop.paddle_folder import find_files, read_paddle_inference
from tinysight.manifest import Input, Manifest, OperatingPoint, utc_now
from tinysight.registry import postprocesses, sessions
from tinysight.transforms import Compose

INPUT, OUTPUT = "images", "scores"
_TOPK = 5
_CONFIGS = ("inference.yml", "inference.yaml")  # newer exports carry their own configuration
_ARCHIVES = (".tar", ".tgz", ".gz", ".zip")


@dataclass(frozen=True)
class Imported:
    """A bundle that was made, and what had to be assumed for it, in words (empty: nothing)."""

    bundle: Bundle
    notes: tuple[str, ...]


def import_paddle(
    source: Path | str,
    out: Path | str,
    *,
    labels: Sequence[str] | None = None,
    deploy: Deploy | None = None,
    row: Artifact | None = None,
    task: str = "",
    overwrite: bool = False,
) -> Imported:
    """Translate an exported classifier into a bundle.

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
        WeightsError: damaged files, operators that are not covered, or no classifier.
        ConfigError: labels, transforms and network do not fit together.
        BundleError: `out` exists and may not be replaced.
    """
    from tinysight.interop.to_onnx import paddle_to_onnx

    with opened(source) as folder:
        program, weights = find_files(folder)
        paddle = read_paddle_inference(program)
        height, width, classes = _classifier(paddle.program, str(source))
        model = paddle_to_onnx(program, inputs=[INPUT], outputs=[OUTPUT])
        origin = {p.name: sha256(p.read_bytes()) for p in (program, weights)}
        inside = next((p for n in _CONFIGS if (p := program.parent / n).is_file()), None)
        found = deploy or (read_deploy_config(inside) if inside else None)
        classes = classes or _columns(model, str(source))
    notes: list[str] = []
    use = found or _usual(height, width, classes, row, notes)
    height, width = _size(use.transforms, height, width)
    names = _labels(labels, use.labels, row, classes, notes)
    postprocess, problems = postprocesses.check(use.postprocess, "postprocess")
    if problems:
        raise ConfigError.of("postprocess", problems)
    postprocesses.build(postprocess, "postprocess", labels=names)
    if paddle.last_operation == "sigmoid":
        notes.append(
            "each class has a probability of its own (sigmoid), of which the answer shows the highest"
        )
    data = _with_size(model, height, width)
    _try(data, (height, width), len(names), str(source))
    threshold = postprocess.get("threshold")
    manifest = Manifest(
        task=task or (row.name if row else Path(source).name.split(".")[0].removesuffix("_infer")),
        description=f"Translated from the PaddlePaddle export {Path(source).name}",
        licence=row.licence if row else "",
        input=Input(INPUT, (None, 3, height, width), "float32"),
        output=OUTPUT,
        transforms=use.transforms,
        postprocess=postprocess,
        labels=names,
        threshold=None if threshold is None else OperatingPoint(threshold, _chosen(found, row)),
        recipe={
            "source": Path(source).name,
            "sha256": origin,
            **({"url": row.urls[0]} if row else {}),
        },
        made_with=_versions(),
        created=utc_now(),
    )
    return Imported(Bundle.write(out, manifest, {MODEL: data}, overwrite=overwrite), tuple(notes))


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
        while len(inside := [p for p in folder.iterdir() if not p.name.startswith("._")]) == 1 and (
            inside[0].is_dir()
        ):
            folder = inside[0]
        yield folder


def _classifier(program: Any, where: str) -> tuple[int, int, int]:
    """Height, width and number of classes, 0 where the program leaves them open."""
    hint = "translate it alone: --out NAME.onnx"
    shape = tuple(program.input_shape)
    if len(program.inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        what = f"no classifier of pictures: {len(program.inputs)} inputs, the first {list(shape)}"
        raise WeightsError(where, what, hint)
    last = program.last_operation
    if last not in ("softmax", "sigmoid"):
        what = f"ends in {last}, so its outputs are no probabilities"
        raise WeightsError(where, what, f"export it with softmax, or {hint}")
    kind = program.types.get(program.outputs[0].value)
    output = tuple(kind.shape) if kind else ()
    if len(program.outputs) != 1 or (output and len(output) != 2):
        raise WeightsError(where, f"{len(program.outputs)} outputs, the first {list(output)}", hint)
    return max(shape[2], 0), max(shape[3], 0), max(output[1], 0) if output else 0


def _columns(model: OnnxModel, where: str) -> int:
    match model.outputs[0].shape:
        case (_, int(count)) if count >= 1:
            return count
    raise WeightsError(where, "its number of classes cannot be told")


def _usual(height: int, width: int, classes: int, row: Artifact | None, notes: list[str]) -> Deploy:
    """What the deploy configurations of PaddleClas say where nobody says otherwise."""
    height, width = height or 224, width or 224
    steps = default_transforms(height, width, exact=row is not None and row.exact)
    spec: dict[str, Any] = {"name": "topk", "k": min(_TOPK, classes)}
    if row and row.threshold is not None and classes == 2:
        spec = {"name": "threshold", "threshold": row.threshold, "positive": 1}
    if row is None:
        shown = ", ".join(_in_words(step) for step in steps)
        notes.append(
            f"no --deploy-config: pictures go through {shown}; check that training did the same"
        )
        notes.append(f"no --deploy-config: the answer is the {spec['k']} best classes")
    return Deploy(steps, spec, None)


def _in_words(step: dict[str, Any]) -> str:
    given = (
        step.get("short")
        or step.get("size")
        or f"mean {step['mean']} std {step['std']} scale {step['scale']}"
    )
    kind = " (short side)" if step.get("short") else ""
    return f"{step['name']} {given}{kind}"


def _size(steps: Sequence[dict[str, Any]], height: int, width: int) -> tuple[int, int]:
    got = Compose.from_specs(steps, "transforms").output_shape()
    wanted = (height or got[0], width or got[1], 3)
    if got != wanted:
        what = f"give pictures of {got[1]} x {got[0]} x {got[2]}, the network takes {width} x {height} x 3"
        raise ConfigError("transforms", what, "is it the deploy configuration of this network?")
    return got[0], got[1]


def _labels(
    given: Sequence[str] | None,
    configured: Sequence[str] | None,
    row: Artifact | None,
    classes: int,
    notes: list[str],
) -> tuple[str, ...]:
    names = given or configured or (row.labels if row else ())
    if not names:
        notes.append(f"no --labels: the {classes} classes are called by their ids")
        return tuple(map(str, range(classes)))
    if len(names) != classes:
        raise ConfigError("labels", f"{len(names)} labels for {classes} classes")
    return tuple(names)


def _with_size(model: OnnxModel, height: int, width: int) -> bytes:
    first, *rest = model.inputs
    sized = first._replace(shape=(*first.shape[:2], height, width))
    return replace(model, inputs=(sized, *rest)).to_bytes()


def _try(model: bytes, size: tuple[int, int], classes: int, where: str) -> None:
    """One run of two pictures: what cannot answer is not sealed."""
    session = sessions.build({"name": "onnxruntime"}, model=model, threads=1)
    scores = session.run(np.zeros((2, 3, *size), np.float32))
    if scores.shape != (2, classes) or not np.isfinite(scores).all():
        raise WeightsError(
            where, f"translated, but answers {scores.shape} for 2 pictures", "please report it"
        )


def _chosen(found: Deploy | None, row: Artifact | None) -> str:
    if found is not None:
        return "set in the deploy configuration"
    return f"the publisher's: {row.page}" if row else "usual"


def _versions() -> dict[str, str]:
    return {
        "tinysight": __version__,
        "python": platform.python_version(),
        "numpy": str(np.__version__),
    }
