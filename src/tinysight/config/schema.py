"""What a training run is: frozen, strict sections. Unknown keys, wrong types and out-of-range numbers are errors.

The descriptions here are the help of `tinysight recipe schema`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Tag, model_validator
from pydantic_core import PydanticCustomError, core_schema

from tinysight.concurrency import MAX_THREADS
from tinysight.errors import MissingDependency, nearest
from tinysight.registry import REGISTRIES, tasks
from tinysight.validation import PROBLEMS

if TYPE_CHECKING:
    from tinysight.transforms import Compose


def doc(text: str, default: Any = ..., **bounds: Any) -> Any:
    """A field with its description; required where there is no default."""
    return Field(default, description=text, **bounds)


class RecipeSection(BaseModel):
    """A mapping of a recipe."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class Component(BaseModel):
    """`{name: ..., key: value}`; the keys are those of the component that is registered under the name."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str
    _plugin: str | None = pydantic.PrivateAttr(None)  # source of the plugin that registered it

    @property
    def spec(self) -> dict[str, Any]:
        """The mapping that `Registry.build` takes."""
        return {"name": self.name, **(self.model_extra or {})}


@dataclass(frozen=True)
class Kind:
    """Marks a component slot with the registry that checks it: name, keys and values; defaults are filled in."""

    name: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        inner = handler(source)
        wrap = core_schema.wrap_serializer_function_ser_schema
        check = core_schema.no_info_after_validator_function
        written = wrap(self._written, info_arg=True, schema=inner)
        return check(self._checked, inner, serialization=written)

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> dict[str, Any]:
        return {"$kind": self.name}  # filled in by `json_schema`, once the registries are loaded

    def _checked(self, component: Component) -> Component:
        try:
            spec, problems = REGISTRIES[self.name].check(component.spec, "")
        except MissingDependency as error:
            problems = list(error.problems)
        if problems:
            raise PydanticCustomError(PROBLEMS, "see its problems", {PROBLEMS: problems})
        checked = Component.model_construct(**spec)
        checked._plugin = REGISTRIES[self.name].plugin(checked.name)
        return checked

    def _written(self, component: Component, handler: Any, info: Any) -> dict[str, Any]:
        """The component as plain data; without its defaults if only the others are asked for."""
        spec: dict[str, Any] = handler(component)
        if not info.exclude_defaults:
            return spec
        fields = REGISTRIES[self.name].schema(component.name).model_fields
        defaults = {k: _plain(f.default) for k, f in fields.items() if not f.is_required()}
        return {k: v for k, v in spec.items() if k == "name" or v != defaults.get(k, ...)}


def plugins_of(value: Any) -> set[str]:
    """Sources of the plugins that registered a component in a section, a mapping or a tuple of them."""
    if isinstance(value, Component):
        return {value._plugin} if value._plugin else set()
    if isinstance(value, RecipeSection):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, dict):
        value = tuple(value.values())
    return set().union(*map(plugins_of, value)) if isinstance(value, tuple) else set()


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


STUDENT = "student"
"""Name of the network of `model` where there are others."""

Transform = Annotated[Component, Kind("transform")]
Texts: TypeAlias = str | tuple[str, ...]


def _targets() -> list[str]:
    return sorted({name for task in tasks for name in tasks.build({"name": task}).targets()})


def _is_target(name: str) -> str:
    known = _targets()
    if name not in known:
        raise ValueError(f"should be one of {', '.join(known)} ({nearest(name, known)})")
    return name


class _TargetSchema:
    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": _targets()}


Target = Annotated[str, AfterValidator(_is_target), _TargetSchema()]


class Split(RecipeSection):
    """Images: list files, a folder with one folder per class, or annotated boxes; exactly one of these."""

    list: Texts | None = doc("List files, relative to data.root; a line is `path label`", None)
    folder: str | None = doc("Folder with one folder per class, relative to data.root", None)
    coco: Texts | None = doc("COCO files, relative to data.root", None)
    voc: str | None = doc("Folder of Pascal VOC files, relative to data.root", None)
    images: str = doc("Folder of the images of coco or voc, relative to data.root", ".")
    unlabelled: tuple[str, ...] = doc(
        "List files and folders whose labels are not used; for distillation", ()
    )
    ratio: float | None = doc(
        "Unlabelled images for each labelled one, drawn anew every epoch; default: all of them",
        None, gt=0,
    )  # fmt: skip
    root: Texts | None = doc("Instead of data.root, for this split", None)
    target: Literal["class", "transform"] | None = doc("Instead of data.target, here", None)
    limit: int | None = doc("Use the first N images only", None, ge=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> Split:
        self._one_of([])
        return self

    def _one_of(self, more: Sequence[bool], others: str = "") -> None:
        given = [value is not None for value in (self.list, self.folder, self.coco, self.voc)]
        if [*given, *more].count(True) != 1:
            raise ValueError(f"give either list, folder, coco{others or ' or voc'}")
        if self.unlabelled and (self.coco or self.voc):
            raise ValueError("unlabelled images go with list or folder, not with boxes")


class EvalSplit(Split):
    """Images to evaluate on; for retrieval also queries that are searched in a gallery of their own."""

    query: Texts | None = doc("List files of the queries; `gallery` is needed too", None)
    gallery: Texts | None = doc("List files that the queries are searched in", None)

    @model_validator(mode="after")
    def _one_of_two(self) -> EvalSplit:
        both = self.query is not None and self.gallery is not None
        if (self.query is None) != (self.gallery is None):
            raise ValueError("query and gallery belong together")
        if self.unlabelled or self.ratio is not None:
            raise ValueError("unlabelled images are for training; leave out unlabelled and ratio")
        self._one_of([both], ", voc, or query with gallery")
        return self


def _one_or_named(value: Any) -> str:
    """Which of the two spellings of `data.eval` this is: named splits are a mapping of mappings."""
    inner = value.values() if isinstance(value, dict) else ()
    return "(named)" if inner and all(isinstance(v, dict | EvalSplit) for v in inner) else "(one)"


_Named = Annotated[dict[str, EvalSplit], Tag("(named)")]
_Discriminator = pydantic.Discriminator(_one_or_named)
EvalSplits = Annotated[Annotated[EvalSplit, Tag("(one)")] | _Named, _Discriminator]


class Data(RecipeSection):
    """Where the images are and how they become batches."""

    root: Texts = doc("Folder that the paths in the lists are relative to; one, or one a list")
    labels: Texts | Annotated[int, Field(ge=1)] | None = doc(
        "Label names, a file of `id name` lines, or how many there are; default: the folders, or"
        " the identities that occur",
        None,
    )
    target: Target = doc(
        "What a line says after the path: one class id; 0 or 1 for every label; an identity and"
        " perhaps a camera; nothing, for a transform sets the label; the boxes of coco or voc",
        "class",
    )
    merge: bool = doc("Every box is of the one label, whatever its name", False)
    relabel: bool = doc("Number the class ids that occur from 0, in their order", False)
    train: Split
    eval: EvalSplits = doc("One split, or several by name; the first picks the best epoch")
    delimiter: str | None = doc("After the path; default: last blank or tab", None, min_length=1)
    sampler: Annotated[Component, Kind("sampler")] = Component(name="shuffle")
    batch_size: Annotated[int, Field(ge=1)] = 64
    drop_last: bool = doc("Train on full batches only: what is left of an epoch is left out", False)
    eval_batch_size: Annotated[int, Field(ge=1)] = 64
    workers: int = doc("Loader processes; 0 loads in the main one", 2, ge=0, le=MAX_THREADS)
    max_bad_fraction: float = doc("Stop when more images are unreadable", 0.01, ge=0, le=1)

    @property
    def eval_splits(self) -> dict[str, EvalSplit]:
        """The evaluation splits by name; a single one is called the empty string."""
        return {"": self.eval} if isinstance(self.eval, EvalSplit) else self.eval

    @property
    def first_eval(self) -> EvalSplit:
        """The evaluation split that picks the best epoch and the threshold."""
        return next(iter(self.eval_splits.values()))


class Pixels(RecipeSection):
    """From decoded image to network input. `eval` travels in the bundle."""

    train: tuple[Transform, ...]
    batch: tuple[Annotated[Component, Kind("batch_transform")], ...] = doc(
        "Mix the images of a training batch: at most one of these, by its `p`", ()
    )
    eval: Annotated[tuple[Transform, ...], Field(min_length=1)]


class Model(RecipeSection):
    """The network."""

    backbone: Annotated[Component, Kind("backbone")]
    detector: Annotated[Component, Kind("detector")] | None = doc(
        "What makes a detector of the backbone", None
    )
    neck: Annotated[Component, Kind("neck")] | None = None
    head: Annotated[Component, Kind("head")] | None = None
    pretrained: bool | str | None = doc("Weights: true, ssld, ssld_stage1, file or address", None)
    skip: tuple[str, ...] = doc("Fresh parts: `classifier`, or the beginnings of names", ())
    linear_probe: bool = doc("Begin with a classifier fitted to the pretrained features", False)
    freeze: tuple[str, ...] = doc("Beginnings of names that do not learn: `stem`, `stages.0`", ())
    freeze_statistics: bool = doc("Batch normalisation keeps its statistics; for few images", False)
    batch_norm_variance: Literal["unbiased", "biased"] = doc(
        "Batch variance that enters the running one; PaddlePaddle: biased", "unbiased"
    )

    @property
    def recognises(self) -> bool:
        """True for a backbone without its own classifier, followed by a neck, a head or both."""
        return self.neck is not None or self.head is not None

    @model_validator(mode="after")
    def _probe_of_something(self) -> Model:
        if self.linear_probe and not self.pretrained:
            raise ValueError("linear_probe needs pretrained weights: set pretrained too")
        if self.linear_probe and (self.recognises or self.detector):
            raise ValueError("linear_probe is for the backbone's own classifier, not neck and head")
        if self.detector and self.recognises:
            raise ValueError("give either detector or neck and head")
        return self


class Teacher(RecipeSection):
    """A network that the trained one learns from, or with; exactly one source."""

    run: str | None = doc("A run folder, or a checkpoint", None)
    bundle: str | None = doc(
        "A bundle, run by an engine; a folder, or a shipped bundle's name", None
    )
    onnx: str | None = doc("An ONNX file, run by an engine: one input, logits or scores", None)
    program: str | None = doc("A folder with a program that PaddleClas exported", None)
    backbone: Annotated[Component, Kind("backbone")] | None = None
    neck: Annotated[Component, Kind("neck")] | None = None
    head: Annotated[Component, Kind("head")] | None = None
    pretrained: bool | str | None = doc("Weights of the backbone, as in the section model", None)
    skip: tuple[str, ...] = doc("As in the section model", ())
    learns: bool = doc(
        "It is trained too, and begins with fresh weights if it has no others", False
    )
    batch_statistics: bool = doc(
        "Frozen, but in training mode: normalised by the batch, as PaddleClas leaves it", False
    )

    @model_validator(mode="after")
    def _one_source(self) -> Teacher:
        given = [name for name in TEACHER_SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(TEACHER_SOURCES)}")
        if self.learns and given[0] not in ("backbone", "run"):
            raise ValueError(f"{given[0]} is run by an engine, which cannot learn")
        if self.backbone is None and (self.neck or self.head or self.pretrained or self.skip):
            raise ValueError(f"{given[0]} has its own network and weights")
        return self


TEACHER_SOURCES = ("run", "bundle", "onnx", "program", "backbone")


class Ema(RecipeSection):
    """A running mean of the weights, which is evaluated and exported in their place."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9999
    warmup: bool = doc("Begin with a smaller decay: min(decay, (1 + step) / (10 + step))", True)
    from_zero: bool = doc(
        "Begin at 0, divided by 1 - decay ** steps; not at the first weights", False
    )
    cycle_epochs: int | None = doc("Begin anew after so many epochs", None, ge=1)


class EarlyStopping(RecipeSection):
    """End the run when the first metric has not risen for a while."""

    patience: Annotated[int, Field(ge=1, description="Epochs without a better one")]
    min_delta: Annotated[float, Field(ge=0, description="What counts as better")] = 0.0


class LossOptimizer(RecipeSection):
    """An optimiser of its own for the parameters of losses, such as centres."""

    optimizer: Annotated[Component, Kind("optimizer")]
    lr: Annotated[float, Field(gt=0, description="Peak rate; lr_batch_size does not change it")]
    schedule: Annotated[Component, Kind("schedule")] = Component(name="constant")


class Train(RecipeSection):
    """The run."""

    epochs: Annotated[int, Field(ge=1)]
    optimizer: Annotated[Component, Kind("optimizer")]
    schedule: Annotated[Component, Kind("schedule")] = Component(name="cosine")
    lr: Annotated[float, Field(gt=0, description="Peak rate, after warm-up; see lr_batch_size")]
    lr_batch_size: int | None = doc("Batch size of lr, which grows with the real one", None, ge=1)
    loss_optimizer: LossOptimizer | None = None
    clip_norm: float | None = doc("Largest gradient norm", None, gt=0)
    clip: Literal["global", "tensor"] = doc("What clip_norm is the norm of", "global")
    accumulate: int = doc("Batches whose gradients make one step", 1, ge=1)
    ema: Ema | None = None
    early_stopping: EarlyStopping | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    deterministic: bool = doc("Same bits on a GPU, too; slower. On a CPU they always are", False)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = doc("Compile the network: minutes once, faster steps", False)
    sync_bn: bool = doc("Normalise over the batches of all GPUs together", False)
    views: int | None = doc(
        "Random views of each image, then the same again: a frozen teacher sees each once",
        None,
        ge=1,
    )
    eval_every: int = doc("Epochs between evaluations", 1, ge=1)
    eval_from: int = doc("The first epoch that is evaluated", 1, ge=1)
    checkpoint_every: int | None = doc("Steps between checkpoints, beside one an epoch", None, ge=1)
    loggers: tuple[Literal["mlflow", "wandb"], ...] = doc(
        "Where the curves go too, beside the run folder's own files", ()
    )


class OperatingPoint(RecipeSection):
    """How the threshold is chosen on the validation images; exactly one of the three."""

    target_fpr: Annotated[float, Field(gt=0, lt=1)] | None = None
    target_precision: Annotated[float, Field(gt=0, le=1)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> OperatingPoint:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"exactly one of {', '.join(type(self).model_fields)} is needed")
        return self


class Export(RecipeSection):
    """The bundle."""

    postprocess: Annotated[Component, Kind("postprocess")]
    operating_point: OperatingPoint | None = None
    probabilities: bool = doc(
        "False: scores as they are before the softmax, for topk or scores", True
    )
    calibrate: bool = doc("Divide logits by the temperature that fits the validation images", False)
    opset: Annotated[int, Field(ge=17, le=21)] = 18
    nms: bool = doc(
        "A detector's network chooses among its boxes; false: its post-processor does", True
    )


class PluginRecord(RecipeSection):
    """A file or package that registered components, as a run records it; a recipe may give the path alone."""

    name: str
    sha256: str
    file: str | None = None


class Recipe(RecipeSection):
    """A training run, complete: the same recipe, data and seed give the same weights."""

    task: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", description="Name of the model it makes")]
    description: str = ""
    plugins: tuple[PluginRecord, ...] = doc("Python files of components, relative to this one", ())
    data: Data
    transforms: Pixels
    model: Model
    teachers: dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")], Teacher] = doc(
        "Other networks by name; the one of `model` is called student", {}
    )
    loss: Annotated[Component, Kind("loss")] | None = None
    losses: tuple[Annotated[Component, Kind("loss_term")], ...] = doc(
        "A weighted sum instead of `loss`; `of`: the output that each is computed from, or several;"
        " `between`: two outputs that a distillation loss compares; `weight`; `on`: which images",
        (),
    )
    train: Train
    metrics: tuple[Annotated[Component, Kind("metric")], ...] = doc(
        "The first value of the first one picks the best epoch", min_length=1
    )
    export: Export

    @model_validator(mode="after")
    def _one_spelling(self) -> Recipe:
        if (self.loss is None) == (not self.losses):
            raise ValueError("give either loss or losses")
        if self.teachers and not self.losses:
            raise ValueError("teachers need losses, of which one is `between` two networks")
        if taken := self.teachers.keys() & {STUDENT, "logits", "embedding", "pooled"}:
            raise ValueError(f"no teacher can be called {min(taken)}")
        return self

    def eval_transforms(self) -> Compose:
        """The transforms of evaluation and of the bundle."""
        return _composed(self.transforms.eval, "transforms.eval")

    def train_transforms(self) -> Compose:
        """The transforms of training."""
        return _composed(self.transforms.train, "transforms.train")


def _composed(steps: Sequence[Component], where: str) -> Compose:
    from tinysight.transforms import Compose  # OpenCV, which reading a recipe does without

    return Compose.from_specs([step.spec for step in steps], where)
