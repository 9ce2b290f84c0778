"""What a bundle says about itself: typed, sealed by a digest, read without any framework.

The text of `bundle.yaml` is written in the part of YAML that is also JSON, so a browser or a C++
program reads it with the parser it has, and prediction here starts without importing a YAML parser.
The digest is the SHA-256 of everything else in canonical JSON (keys sorted, no blanks, ASCII), so
laying the same text out differently changes nothing, and changing one value shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tinysight.bundle.plain import (
    AGAIN,
    Read,
    anything,
    by_name,
    integer,
    many,
    maybe,
    number,
    record,
    text,
    wrong,
)
from tinysight.errors import BundleError, ConfigError, nearest

FORMAT = 2  # 1 where nothing of 2 is used, so that older versions read it
NO_CLASSES = (
    "boxes",
    "embedding",
)  # post-processors whose answers are not classes of the whole image
FEEDS = ("im_shape", "scale_factor")  # what an input beside the image may take
_WIDTH = 100


class Input(NamedTuple):
    """The network's input: its name, its shape (None: any number) and its type of number."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class OperatingPoint(NamedTuple):
    """The threshold in force, how it was chosen, and the interval it could as well lie in."""

    value: float
    chosen: str
    interval: tuple[float, float] | None = None


class Parity(NamedTuple):
    """How far the bundle's answers lie from those of the network that was validated."""

    images: int
    max_score_difference: float
    label_flips: int
    engines: dict[str, str]


class Target(NamedTuple):
    """The network in another engine's form, and how far its answers lie from those of `model.onnx`.

    Attributes:
        files: names of its files in the bundle.
        precision: "fp32", "fp16", "bf16" or "int8".
        images: that both were shown.
        max_score_difference: the largest over all images and classes.
        mean_score_difference: over all images and classes.
        label_flips: images whose best class changed.
        lost_points: accuracy lost on labelled images in per cent points, negative if it rose; None
            where the images had no labels.
        made_with: versions of what wrote it.
    """

    files: tuple[str, ...]
    precision: str
    images: int
    max_score_difference: float
    mean_score_difference: float
    label_flips: int
    lost_points: float | None
    made_with: dict[str, str]


class ReducedDecode(NamedTuple):
    """Leave to decode JPEGs at a half, a quarter or an eighth, and what it was measured to change.

    Attributes:
        margin: by how much, at least, a reduced image exceeds the size that the first transform
            makes of it.
        images: that were reduced, and compared with whole decoding.
        label_flips: images whose best class changed.
        max_score_difference: the largest change of a score.
    """

    margin: float
    images: int
    label_flips: int
    max_score_difference: float


class File(NamedTuple):
    """A file of the bundle: bytes and their SHA-256."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """Everything that determines a prediction, apart from the network itself.

    Attributes:
        task: name of the model.
        input: what the network takes.
        output: name of the network's output, probabilities (N, K).
        transforms: specs of the transforms from a decoded image to the network's input.
        postprocess: spec of the post-processor, without labels.
        labels: name of each class, by class id.
        threshold: where the post-processor's threshold comes from, if it has one.
        metrics: numbers measured on the validation images.
        parity: certificate of the export.
        recipe: where the network comes from: hash of the resolved recipe, checkpoint, epoch.
        made_with: versions of what made it.
        created: UTC time, ISO 8601.
        files: the files of the bundle by name; filled in when it is written.
        decode: how far JPEGs may be reduced while decoding; None, and no key in the text: not at all.
            Format 2.
        feeds: what the network's other inputs take, by their names: "im_shape", the height and width of the
            network's input, or "scale_factor", these over those of the image; (N, 2) float32. Format 2.
        more_outputs: names of the network's other outputs. Format 2, as are bundles without labels.
        targets: the network in the forms of other engines, by name. Format 2.
    """

    task: str
    input: Input
    output: str
    transforms: tuple[dict[str, Any], ...]
    postprocess: dict[str, Any]
    labels: tuple[str, ...]
    description: str = ""
    licence: str = ""
    threshold: OperatingPoint | None = None
    metrics: dict[str, float] = {}
    parity: Parity | None = None
    recipe: dict[str, Any] = {}
    made_with: dict[str, str] = {}
    created: str = ""
    files: dict[str, File] = {}
    decode: ReducedDecode | None = None
    feeds: dict[str, str] = {}
    more_outputs: tuple[str, ...] = ()
    targets: dict[str, Target] = {}

    def to_text(self) -> str:
        """The text of `bundle.yaml`, sealed.

        Raises:
            BundleError: a value that is not plain data or not finite.
        """
        names = [*_SCHEMA, *(n for n in _LATER if n not in _SCHEMA and getattr(self, n))]
        version = 1 if len(names) == len(_SCHEMA) and self.labels else FORMAT
        tree = {"format": version, **{name: _plain(getattr(self, name)) for name in names}}
        tree["digest"] = _digest(tree, self.task)
        lines = [f"  {json.dumps(k)}: {laid_out(v, 2)}" for k, v in tree.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def utc_now() -> str:
    """The time for `Manifest.created`; `SOURCE_DATE_EPOCH` stops the clock, for the same bytes again."""
    import os
    from datetime import datetime, timezone  # reading a bundle needs neither

    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = (
        datetime.fromtimestamp(int(fixed), timezone.utc) if fixed else datetime.now(timezone.utc)
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_manifest(text: bytes, where: str) -> Manifest:
    """The manifest in `text`, the contents of the file `where`.

    Raises:
        BundleError: not readable, made by a newer version, edited, or with a key that is unknown,
            missing or of the wrong kind.
    """
    tree = _tree(text, where)
    if not isinstance(tree, dict) or "digest" not in tree or "format" not in tree:
        raise BundleError(where, "not a bundle's manifest: no format and digest", AGAIN)
    version = tree["format"]
    if type(version) is not int or version < 1:
        raise BundleError(where, f"format {version!r} does not exist", AGAIN)
    if version > FORMAT:
        what = f"written in format {version}, this version reads up to {FORMAT}"
        raise BundleError(where, what, "pip install --upgrade tinysight")
    sealed = tree.pop("digest")
    if sealed != _digest(tree, where):
        what = "edited after it was sealed: its digest does not match"
        raise BundleError(where, what, AGAIN)
    del tree["format"]
    schema = _SCHEMA if version == 1 else {**_SCHEMA, **_LATER}
    for key in tree:
        if key not in schema:
            raise BundleError(f"{where}: {key}", "unknown key", nearest(key, schema))
    for key in _SCHEMA:
        if key not in tree:
            raise BundleError(f"{where}: {key}", "required key is missing", AGAIN)
    manifest = Manifest(**{k: schema[k](value, f"{where}: {k}") for k, value in tree.items()})
    return _consistent(manifest, where)


def _consistent(manifest: Manifest, where: str) -> Manifest:
    if not manifest.labels and manifest.postprocess["name"] not in NO_CLASSES:
        raise wrong([], f"{where}: labels", "a list of 1 or more")
    threshold = manifest.threshold
    if threshold and threshold.value != manifest.postprocess.get("threshold", threshold.value):
        raise BundleError(f"{where}: threshold", "differs from the post-processor's", AGAIN)
    return manifest


def _tree(text: bytes, where: str) -> Any:
    try:
        if text.lstrip().startswith(b"{"):
            return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_not_finite)
        from tinysight.files import parse_yaml  # somebody laid it out by hand

        return parse_yaml(text, where)
    except ConfigError as error:
        raise BundleError(where, error.problems[0].what, AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise BundleError(where, f"not readable: {error}", AGAIN) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key appears twice")
    return tree


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _digest(tree: Mapping[str, Any], where: str) -> str:
    try:
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(where, f"cannot be sealed: {error}") from None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def as_tree(record: Any) -> dict[str, Any]:
    """A record as it is written; files and JSON go on saying `pictures`, as they did from the first version."""
    tree = {k: _plain(v) for k, v in record._asdict().items()}
    return {"pictures" if k == "images" else k: v for k, v in tree.items()}


def _plain(value: Any) -> Any:
    """Tuples as lists, records as mappings."""
    if hasattr(value, "_asdict"):
        return as_tree(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def laid_out(value: Any, indent: int) -> str:
    """JSON text of `value`, behind `indent` blanks, on one line if it fits."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list):
        return flat
    blank = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{json.dumps(k)}: {laid_out(v, indent + 2)}" for k, v in value.items()]
    else:
        rows = [laid_out(v, indent + 2) for v in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{blank}" + f",\n{blank}".join(rows) + f"\n{' ' * indent}{closing}"


def _margin(value: Any, where: str) -> float:
    if not 1 <= number(value, where) <= 8:
        raise wrong(value, where, "a number from 1 to 8")
    return float(value)


def _pair(value: Any, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(value, where, "two numbers")
    return number(value[0], f"{where}.0"), number(value[1], f"{where}.1")


def _spec(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise wrong(value, where, "a mapping with a name")
    return value


def _feed(value: Any, where: str) -> str:
    if value not in FEEDS:
        raise wrong(value, where, f"one of {', '.join(FEEDS)}")
    return str(value)


_SCHEMA: dict[str, Read] = {
    "task": text,
    "description": text,
    "licence": text,
    "input": record(Input, [("name", text), ("shape", many(maybe(integer), 4)), ("dtype", text)]),
    "output": text,
    "transforms": many(_spec),
    "postprocess": _spec,
    "labels": many(text, 1),
    "threshold": maybe(
        record(
            OperatingPoint,
            [("value", number), ("chosen", text), ("interval", maybe(_pair))],
        )
    ),
    "metrics": by_name(number),
    "parity": maybe(
        record(
            Parity,
            [
                ("pictures", integer),
                ("max_score_difference", number),
                ("label_flips", integer),
                ("engines", by_name(text)),
            ],
        )
    ),
    "recipe": by_name(anything),
    "made_with": by_name(text),
    "created": text,
    "files": by_name(record(File, [("size", integer), ("sha256", text)])),
}
_LATER: dict[str, Read] = {  # since format 2; what is not there is empty
    "labels": many(text),
    "feeds": by_name(_feed),
    "more_outputs": many(text),
    "targets": by_name(
        record(
            Target,
            [
                ("files", many(text, 1)),
                ("precision", text),
                ("pictures", integer),
                ("max_score_difference", number),
                ("mean_score_difference", number),
                ("label_flips", integer),
                ("lost_points", maybe(number)),
                ("made_with", by_name(text)),
            ],
        )
    ),
    "decode": maybe(
        record(
            ReducedDecode,
            [
                ("margin", _margin),
                ("pictures", integer),
                ("label_flips", integer),
                ("max_score_difference", number),
            ],
        )
    ),
}
