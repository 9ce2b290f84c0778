"""What a bundle says about itself: typed, and sealed by a digest."""

# The annotations here are the schema of `bundle.yaml`, so they are not postponed (see `sealed`).
from typing import Annotated, Any, NamedTuple

from tinysight.bundle import sealed
from tinysight.bundle.sealed import EXPORT_AGAIN, ON_DISK, Rule
from tinysight.errors import BundleError

FORMAT = 2  # 1 where nothing of 2 is used, so that older versions read it
_OF_CLASSES = ("topk", "threshold", "scores", "multilabel")  # post-processors that name classes
FEEDS = ("im_shape", "scale_factor")  # what an input beside the image may take

Feed = Annotated[str, Rule(lambda v: v in FEEDS, f"one of {', '.join(FEEDS)}")]
_Named = Rule(lambda v: isinstance(v.get("name"), str), "a mapping with a name")
Spec = Annotated[dict[str, Any], _Named]


class Input(NamedTuple):
    """The network's input.

    Attributes:
        name: name of the input.
        shape: (N, C, H, W); None where any number goes.
        dtype: "float32".
    """

    name: str
    shape: Annotated[tuple[int | None, ...], Rule(lambda v: len(v) >= 4, "a list of 4 or more")]
    dtype: str


class ShippedThreshold(NamedTuple):
    """The threshold in force, how it was chosen, and its confidence interval."""

    value: float
    chosen: str
    interval: tuple[float, float] | None = None


class Parity(NamedTuple):
    """How far the bundle's results lie from those of the network that was validated."""

    images: int
    max_score_difference: float
    label_flips: int
    engines: dict[str, str]


class EngineVariant(NamedTuple):
    """The network in another engine's format, and how far its results lie from those of `model.onnx`.

    Attributes:
        files: names of its files in the bundle.
        precision: "fp32", "fp16", "bf16" or "int8".
        images: number of images that both were compared on.
        max_score_difference: largest difference of a score over all images and classes.
        mean_score_difference: mean difference of a score over all images and classes.
        label_flips: number of images whose best class changed.
        lost_points: accuracy lost on labelled images in percentage points, negative if it rose; None
            where the images had no labels.
        made_with: versions of the packages that wrote it.
    """

    files: Annotated[tuple[str, ...], Rule(lambda v: len(v) >= 1, "a list of 1 or more")]
    precision: str
    images: int
    max_score_difference: float
    mean_score_difference: float
    label_flips: int
    lost_points: float | None
    made_with: dict[str, str]


class ReducedDecode(NamedTuple):
    """Permission to decode JPEGs at 1/2, 1/4 or 1/8 size, and what that was measured to change.

    Attributes:
        margin: minimum size of a reduced image, in multiples of the size that the first transform
            makes of it, in [1, 8].
        images: number of images that were reduced and compared with whole decoding.
        label_flips: number of images whose best class changed.
        max_score_difference: largest change of a score.
    """

    margin: Annotated[float, Rule(lambda v: 1 <= v <= 8, "a number from 1 to 8")]
    images: int
    label_flips: int
    max_score_difference: float


class File(NamedTuple):
    """A file of the bundle: bytes and their SHA-256."""

    size: int
    sha256: str


class NeededPlugin(NamedTuple):
    """A plugin of the run, and the names of the transforms and the post-processor that it registered."""

    name: str
    sha256: str
    needed_for: tuple[str, ...]


class Manifest(NamedTuple):
    """Everything that determines a prediction, apart from the network itself.

    Attributes:
        task: name of the model.
        input: the network's input.
        output: name of the network's output, probabilities (N, K).
        transforms: specs of the transforms from a decoded image to the network's input.
        postprocess: spec of the post-processor, without labels.
        labels: name of each class, by class id.
        description: purpose of the model in a sentence.
        licence: licence of the network.
        threshold: the post-processor's threshold and its origin, if it has one.
        metrics: numbers measured on the validation images, by name.
        parity: result of the export check.
        recipe: origin of the network: hash of the resolved recipe, checkpoint, epoch.
        made_with: versions of the packages that made it.
        created: UTC time, ISO 8601.
        files: the files of the bundle by name; filled in when it is written.
        decode: permission to decode JPEGs at reduced size; None, and no key in the text, for none. Format 2.
        feeds: what the network's other inputs take, by their names: "im_shape", the height and width of the
            network's input, or "scale_factor", these over those of the image; (N, 2) float32. Format 2.
        more_outputs: names of the network's other outputs. Format 2, as are bundles without labels.
        variants: the network in the formats of other engines, by name; the key `targets` in the text. Format 2.
    """

    task: str
    input: Input
    output: str
    transforms: tuple[Spec, ...]
    postprocess: Spec
    labels: tuple[str, ...]
    description: str = ""
    licence: str = ""
    threshold: ShippedThreshold | None = None
    metrics: dict[str, float] = {}
    parity: Parity | None = None
    recipe: dict[str, Any] = {}
    made_with: dict[str, str] = {}
    created: str = ""
    files: dict[str, File] = {}
    decode: ReducedDecode | None = None
    feeds: dict[str, Feed] = {}
    more_outputs: tuple[str, ...] = ()
    variants: dict[str, EngineVariant] = {}

    def to_text(self) -> str:
        """The text of `bundle.yaml`, sealed.

        Raises:
            BundleError: a value that is not plain data or not finite.
        """
        tree = sealed.as_tree(self)
        later = [key for key in _FORMAT_2 if tree[key]]
        version = FORMAT if later or not self.labels else 1
        return sealed.sealed_text(version, {k: tree[k] for k in (*_FORMAT_1, *later)}, self.task)


_FORMAT_1 = (
    *("task", "description", "licence", "input", "output", "transforms", "postprocess", "labels"),
    *("threshold", "metrics", "parity", "recipe", "made_with", "created", "files"),
)
_FORMAT_2 = ("feeds", "more_outputs", ON_DISK["variants"], "decode")  # absent ones are empty


def utc_now() -> str:
    """The time for `Manifest.created`; `SOURCE_DATE_EPOCH` fixes it, for the same bytes again."""
    import os
    from datetime import datetime, timezone  # reading a bundle needs neither

    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    utc = timezone.utc
    moment = datetime.fromtimestamp(int(fixed), utc) if fixed else datetime.now(utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_manifest(text: bytes, where: str) -> Manifest:
    """The manifest in `text`, the contents of the file `where`.

    Raises:
        BundleError: not readable, made by a newer version, edited, or with a key that is unknown,
            missing or of the wrong type.
    """
    version, tree = sealed.unseal(text, where, FORMAT)
    known = _FORMAT_1 if version == 1 else (*_FORMAT_1, *_FORMAT_2)
    manifest: Manifest = sealed.read_keys(Manifest, tree, where, _FORMAT_1, known)
    spec = manifest.postprocess
    of_classes = spec["name"].endswith(("_attribute", *_OF_CLASSES))
    if not manifest.labels and (version == 1 or of_classes):
        raise sealed.wrong([], f"{where}: labels", "a list of 1 or more")
    threshold = manifest.threshold
    if threshold and threshold.value != spec.get("threshold", threshold.value):
        raise BundleError(f"{where}: threshold", "differs from the post-processor's", EXPORT_AGAIN)
    return manifest
