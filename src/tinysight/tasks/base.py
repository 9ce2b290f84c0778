"""What a task is: everything that depends on the kind of result, in one object.

The rest of the program asks the task: how a list line becomes a target, which activation follows the network, how its
outputs are evaluated, what a threshold decides about, what a report shows, which post-processors fit, and what the
exported network returns. A new task is a new file that registers a subclass of `Task`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from tinysight.errors import ConfigError, UnknownName
from tinysight.registry import postprocesses, tasks

if TYPE_CHECKING:
    from tinysight.bundle.manifest import Manifest
    from tinysight.config import Recipe
    from tinysight.data.targets import Target
    from tinysight.metrics.classification import LabelRates
    from tinysight.tasks.results import Result

Activation = Literal["softmax", "sigmoid", "normalize", "identity"]


class Scored(NamedTuple):
    """An evaluation as a task sees it.

    Attributes:
        scores: what the activation made of the network's outputs, (N, ...).
        labels: targets, (N,) or (N, K), below 0 where a label is unknown.
        names: the K label names.
        threshold: the threshold in force; None without one.
        positive: class id that it decides about; None without one.
        roles: `queries` (N,) bool and `cameras` (N,) of retrieval, where they are known.
    """

    scores: np.ndarray
    labels: np.ndarray
    names: Sequence[str] = ()
    threshold: float | None = None
    positive: int | None = None
    roles: Mapping[str, np.ndarray] = MappingProxyType({})


class BinaryScores(NamedTuple):
    """The scores that one threshold decides about.

    Attributes:
        scores: probabilities of the positive, (M,).
        truth: True where it is positive, (M,) bool.
        clusters: id of the image that each score belongs to, (M,); None where every image has one score.
        name: name of the positive.
        groups: names of the positive and of the negative ones.
    """

    scores: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray | None
    name: str
    groups: tuple[str, str]


class Misclassification(NamedTuple):
    """One wrong decision.

    Attributes:
        row: row of the evaluation, from 0.
        predicted: name of what was predicted.
        score: score of the prediction.
        truth: name of what is true.
        gap: distance to the right side of the decision; the largest are shown first.
    """

    row: int
    predicted: str
    score: float
    truth: str
    gap: float


class SearchExample(NamedTuple):
    """A query and what is most similar to it.

    Attributes:
        row: row of the query in the evaluation, from 0.
        precision: its average precision.
        nearest: row, similarity, and whether it belongs to the query, of the first entries.
    """

    row: int
    precision: float
    nearest: Sequence[tuple[int, float, bool]]


class TaskTable(NamedTuple):
    """A table of the report: rows under a title.

    Attributes:
        title: heading.
        columns: names of the columns; empty without a head.
        rows: cells as text, a tuple for each row, which the first names.
        text: numbers of the columns that hold no numbers, from 0.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[int] = ()


class Task:
    """Base of all tasks: a network whose outputs mean nothing but numbers.

    Subclasses override what they know. Scores, labels and names are those of `Scored`.

    Attributes:
        source: output of the network that the activation takes: "logits", "embedding" or "detections".
        activation: name of the function between the network and its scores.
        output: name of the exported network's output.
        more_outputs: names of its other outputs.
        postprocesses: names of the post-processors that fit, the usual one first.
        has_classes: True if scores are of named classes or labels, so that a bundle lists their names.
        records_scores: True if a certificate records the scores of each class, or would.
        one_class: True if an image has one class, whose share of right predictions is the accuracy.
        outcome: what `outcomes` gives of an image.
        calibrates: True if scores are probabilities, which a temperature can calibrate.
        whole_labels: True if a choice of evaluation images takes all images of a label.
        trainable: True if a recipe can train it here.
        unit: what a wrong decision is counted in, plural.
        default_metrics: metrics where no recipe names any, as specs.
    """

    source: ClassVar[Literal["logits", "embedding", "detections"]] = "logits"
    activation: ClassVar[Activation] = "identity"
    output: ClassVar[str] = "scores"
    more_outputs: ClassVar[tuple[str, ...]] = ()
    postprocesses: ClassVar[tuple[str, ...]] = ()
    has_classes: ClassVar[bool] = True
    records_scores: ClassVar[bool] = True
    one_class: ClassVar[bool] = False
    calibrates: ClassVar[bool] = False
    whole_labels: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    unit: ClassVar[str] = "images"
    outcome: ClassVar[str] = ""
    default_metrics: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    def without_activation(self) -> Task:
        """The same task with scores as the network gives them, which are no probabilities.

        Raises:
            ConfigError: its results need probabilities.
        """
        if not self.one_class:
            what = "only scores of one class an image may be raw"
            raise ConfigError("export.probabilities", what)
        known = {"activation": "identity", "calibrates": False, "postprocesses": ("topk", "scores")}
        raw: Task = type(f"Raw{type(self).__name__}", (type(self),), known)()
        return raw

    # Data

    def targets(self) -> Mapping[str, Target]:
        """How a line of a list becomes a label, by the name that `data.target` gives it."""
        return {}

    def known(self, labels: np.ndarray) -> np.ndarray:
        """True for each image that has a label, (N,) bool; whole numbers below 0 are no labels."""
        known = (labels >= 0) | (labels.dtype.kind == "f")
        return np.asarray(known if known.ndim == 1 else known.any(axis=1))

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Images that have each label, (K,); zeros where labels are no classes."""
        if labels.ndim == 2:
            return np.asarray((labels == 1).sum(axis=0, dtype=np.int64))
        ids = labels[:0] if labels.dtype.kind == "f" else labels[labels >= 0]
        return np.bincount(ids.astype(np.int64), minlength=num_classes)

    def label_ratio(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Share of the labelled images that have each label, (K,) float32; 0 where none has one."""
        total = max(int(self.known(labels).sum()), 1)
        return (self.counts(labels, num_classes) / total).astype(np.float32)

    def perfect_scores(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Scores of a network that is always right, (N, K) float32."""
        return labels.astype(np.float32).reshape(len(labels), -1)

    # Evaluation

    def check_scores(self, scores: np.ndarray, rows: int, names: Sequence[str]) -> np.ndarray:
        """`scores` of `rows` images as they are.

        Raises:
            ConfigError: their shape is not that of these labels.
        """
        if not self.has_classes and (scores.ndim != 2 or len(scores) != rows):
            what = f"expected vectors (N, D) of {rows} images, got shape {scores.shape}"
            raise ConfigError("model", what)
        if self.has_classes and scores.shape != (rows, len(names)):
            what = f"{len(names)} labels, but the model answers {scores.shape} for {rows} images"
            hint = "use the labels the model was trained with"
            raise ConfigError("data.labels", what, hint)
        return scores

    def no_threshold(self, postprocess: Mapping[str, Any], num_classes: int) -> ConfigError | None:
        """Why a threshold decides nothing here, and what to do; None if it does decide."""
        return ConfigError("export.operating_point", f"{postprocess['name']} has no threshold")

    def binary_scores(self, of: Scored, postprocess: Mapping[str, Any]) -> BinaryScores | None:
        """The scores that the post-processor's threshold decides about; None if it has none."""
        return None

    def fit_temperature(self, scores: np.ndarray, labels: np.ndarray) -> float | None:
        """The temperature that calibrates these scores best; None where there are no probabilities."""
        from tinysight.metrics.calibration import fit_temperature

        return fit_temperature(scores, labels) if self.calibrates else None

    def apply_temperature(self, scores: np.ndarray, temperature: float) -> np.ndarray:
        """`scores` as if the network's outputs had been divided by `temperature`."""
        from tinysight.metrics.calibration import soften

        return soften(scores, temperature, each=self.activation == "sigmoid")

    def calibration(self, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """`ece`, `ece_mass`, `brier` and `nll`; empty where there are no probabilities."""
        from tinysight.metrics.calibration import calibration

        return calibration(scores, labels) if self.calibrates else {}

    def predict_with(self, engine: Any, manifest: Manifest) -> Callable[[np.ndarray], np.ndarray]:
        """From inputs (N, C, H, W) to scores, by a bundle's network in an engine."""
        run: Callable[[np.ndarray], np.ndarray] = engine.run
        return run

    def in_images(self, scores: np.ndarray, sizes: Sequence[tuple[int, int]]) -> Any:
        """What the post-processor takes, of scores and the height and width of each image."""
        return scores

    def results(self, scores: np.ndarray, threshold: float) -> list[Result]:
        """Scores as results that two networks are compared by."""
        from tinysight.tasks.results import ScoreResult

        return [ScoreResult("", row) for row in scores]

    def flips(self, exact: np.ndarray, other: np.ndarray) -> int | None:
        """Number of images that two networks decide otherwise about; None: that of `results`."""
        return None

    def lost_points(self, exact: np.ndarray, other: np.ndarray, labels: np.ndarray) -> float | None:
        """Percentage points of accuracy that `other` scores have less than `exact` ones; None without labels."""
        if not (labels >= 0).all():
            return None
        right = [int((s.argmax(axis=1) == labels).sum()) for s in (exact, other)]
        return 100 * (right[0] - right[1]) / len(labels)

    # Report

    def predicted(self, of: Scored) -> np.ndarray:
        """Class ids (N,) as the threshold decides, or those with the highest score; else the scores."""
        return of.scores

    def confusion(self, of: Scored) -> np.ndarray | None:
        """Counts (K, K): row = label, column = prediction; None where an image has not one class."""
        return None

    def label_rates(self, of: Scored) -> list[LabelRates]:
        """Rates of each of the K labels at the threshold in force; empty where there are none."""
        return []

    def misclassified(self, of: Scored) -> tuple[list[Misclassification], int]:
        """All wrong decisions, and the number of decisions; 0 where nothing is decided."""
        return [], 0

    def outcomes(self, of: Scored) -> np.ndarray | None:
        """How right each image is, (N,) from 0 to 1, NaN where that is not known; None: images have no such number."""
        return None

    def baselines(self, of: Scored) -> dict[str, float]:
        """What the share of right predictions would be without looking at the images; empty without such a share."""
        return {}

    def searches(self, of: Scored, count: int) -> list[SearchExample]:
        """The queries that find most and, behind them, those that find least, up to `count` of each; none otherwise."""
        return []

    def sections(self, of: Scored) -> list[TaskTable]:
        """Tables of the task's own for the report."""
        return []

    # Bundle

    def postprocess(self, spec: Mapping[str, Any], names: Sequence[str]) -> Callable[..., Any]:
        """The post-processor of `spec`.

        Raises:
            ConfigError: it is not one of this task.
        """
        self.check_postprocess(str(spec["name"]))
        built: Callable[..., Any] = postprocesses.build(spec, labels=tuple(names))
        return built

    def fits(self, name: str) -> bool:
        """True if a post-processor takes this task's scores: one of `postprocesses`, or a class that extends one."""
        if name in self.postprocesses:
            return True
        own, found = map(postprocesses.get, self.postprocesses), postprocesses.get(name)
        return isinstance(found, type) and any(
            isinstance(b, type) and issubclass(found, b) for b in own
        )

    def check_postprocess(self, name: str) -> None:
        """Refuse the name of a post-processor that does not fit.

        Raises:
            ConfigError: with those that fit.
        """
        if not self.fits(name):
            what = f"{name}: the results of this task are not its input"
            raise ConfigError("export.postprocess", what, ", ".join(self.postprocesses))


def all_tasks() -> dict[str, Task]:
    """Every registered task by name, in the order of the names."""
    return {name: tasks.build({"name": name}) for name in tasks.names()}


def target_names() -> list[str]:
    """Every value that `data.target` may have, sorted."""
    return sorted({name for task in all_tasks().values() for name in task.targets()})


def target_of(name: str) -> Target:
    """The target that `data.target` names; raises as `task_of_target`."""
    return task_of_target(name).targets()[name]


def task_of_target(target: str, postprocess: str = "") -> Task:
    """The task that reads `target`, of several the one that `postprocess` fits.

    Raises:
        UnknownName: no task reads it.
    """
    fitting = [task for task in all_tasks().values() if target in task.targets()]
    if not fitting:
        raise UnknownName("target", target, target_names(), "data.target")
    fits = (t for t in fitting if t.trainable and postprocess and t.fits(postprocess))
    return next(fits, fitting[0])


def task_of_postprocess(postprocess: str) -> Task:
    """The task whose results `postprocess` makes.

    Raises:
        UnknownName: no task has such a post-processor.
    """
    known = list(all_tasks().values())
    for fits in (
        lambda task: postprocess in task.postprocesses,
        lambda task: task.fits(postprocess),
    ):
        if found := next(filter(fits, known), None):
            return found
    raise UnknownName("postprocess", postprocess, postprocesses.names(), "postprocess")


def task_of_recipe(recipe: Recipe) -> Task:
    """The task of a recipe, by `data.target` and its post-processor."""
    return task_of_target(recipe.data.target, recipe.export.postprocess.name)


def task_of_bundle(manifest: Manifest) -> Task:
    """The task of a bundle, by its post-processor: older manifests say nothing else."""
    return task_of_postprocess(str(manifest.postprocess["name"]))


def task_of_labels(labels: np.ndarray) -> Task:
    """The task of images whose labels are known and nothing else: several labels an image, or one class."""
    task: Task = tasks.build({"name": "multilabel" if labels.ndim == 2 else "classification"})
    return task
