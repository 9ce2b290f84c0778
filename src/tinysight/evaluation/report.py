"""An evaluation with threshold, calibration and latency; for pages, tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import Manifest
from tinysight.data.labels import label_names
from tinysight.data.lists import Sample, SampleList, read_list, read_split
from tinysight.data.samples import has_many
from tinysight.errors import ConfigError, DataError
from tinysight.evaluation import threshold as thresholds
from tinysight.evaluation.latency import Latency, measure_latency
from tinysight.evaluation.outcomes import metric_intervals
from tinysight.evaluation.predictor import Evaluation, Predict, compute_metrics, evaluate
from tinysight.metrics.classification import LabelRates
from tinysight.metrics.intervals import Interval
from tinysight.metrics.operating_point import ThresholdResult
from tinysight.registry import engines
from tinysight.tasks import base as tasks
from tinysight.tasks.base import Misclassification, Scored, Task, TaskTable
from tinysight.transforms import Compose

if TYPE_CHECKING:
    from tinysight.config import Recipe
    from tinysight.config.schema import EvalSplit


_SHOWN = 10  # names in a message


class Subject(NamedTuple):
    """A network with what its evaluation needs.

    Attributes:
        predict: (N, C, H, W) float32 to scores.
        transforms: from a decoded image to one input.
        labels: the K label names.
        task: what the network is for.
        recipe: names the images and the metrics; None where nothing does.
        manifest: of a bundle; None of a network that is no bundle.
    """

    predict: Predict
    transforms: Compose
    labels: tuple[str, ...]
    task: Task
    recipe: Recipe | None = None
    manifest: Manifest | None = None


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation and what follows from it.

    Attributes:
        labels: the K label names.
        evaluation: scores, labels and metrics; the scores are calibrated if the recipe asks for it.
        binary: scores that the threshold decides about; None without one.
        threshold: the threshold and its rates on these images; None without one.
        chosen: the rule that gave the threshold, or why there is none.
        calibration: `ece`, `ece_mass`, `brier` and `nll` of the scores; empty without probabilities.
        temperature: the temperature that calibrates these scores best, or the one that was applied;
            None without probabilities.
        calibrated: True if it was applied.
        latency: of one image; None if it was not measured.
        expected_fpr: 95 % interval of the false-positive rate on these images, by the data that the
            bundle's threshold was chosen on; None without.
        others: evaluations on the recipe's further splits, by name; `name` is that of the first.
        name: name of the split; empty for one without a name.
        intervals: 95 % interval of the metrics that have one.
    """

    labels: tuple[str, ...]
    evaluation: Evaluation
    binary: tasks.BinaryScores | None
    threshold: ThresholdResult | None
    chosen: str
    calibration: dict[str, float]
    temperature: float | None
    calibrated: bool = False
    latency: Latency | None = None
    expected_fpr: Interval | None = None
    others: Mapping[str, Evaluation] = field(default_factory=dict)
    name: str = ""
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task of the network."""
        return self.evaluation.task

    @property
    def scored(self) -> Scored:
        """What the task is asked with, at the threshold in force."""
        found, name = self.evaluation, self.binary.name if self.binary else None
        threshold = self.threshold.threshold if self.threshold else None
        positive = self.labels.index(name) if name in self.labels else None
        return Scored(found.scores, found.labels, self.labels, threshold, positive, found.roles)

    def confusion(self) -> np.ndarray | None:
        """Counts (K, K): row = label, column = prediction; None where an image has not one class."""
        return self.task.confusion(self.scored)

    def label_rates(self) -> list[tuple[str, LabelRates]]:
        """Each label with its rates; empty where there are none."""
        rates = self.task.label_rates(self.scored)
        return list(zip(self.labels, rates, strict=True)) if rates else []

    def misclassified(self) -> tuple[list[Misclassification], int]:
        """All wrong decisions, the surest first, and the number of decisions."""
        wrong, total = self.task.misclassified(self.scored)
        return sorted(wrong, key=lambda decision: -decision.gap), total

    def splits(self) -> TaskTable | None:
        """A row of metrics for each split; None of one split alone."""
        if not self.others:
            return None
        found = {self.name: self.evaluation, **self.others}
        names = list(self.evaluation.metrics)
        rows = [
            (name, str(len(e.paths)), *(f"{e.metrics.get(m, math.nan):.4g}" for m in names))
            for name, e in found.items()
        ]
        return TaskTable("Each data set", ("data set", "images", *names), rows)

    def sections(self) -> list[TaskTable]:
        """The splits, and tables of the task's own."""
        return [*filter(None, [self.splits()]), *self.task.sections(self.scored)]

    def to_json(self) -> dict[str, Any]:
        """Everything but the scores, as plain data."""
        found, latency = self.evaluation, self.latency
        fit = {} if self.temperature is None else {"temperature": self.temperature}
        return {
            **_numbers(found),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "threshold": self._threshold_json(),
            "calibration": {**self.calibration, **fit},
            "calibrated": self.calibrated,
            "latency_ms": latency and {
                "pictures": latency.images,
                **{name: getattr(latency, name)._asdict() for name in latency._fields[1:]},
            },
            "unreadable": [{"path": path, "reason": reason} for path, reason in found.unreadable],
            "seconds": round(found.seconds, 3),
            **({"data_sets": self._splits_json()} if self.others else {}),
        }  # fmt: skip

    def _splits_json(self) -> dict[str, Any]:
        found = {self.name: self.evaluation, **self.others}
        return {name: _numbers(each) for name, each in found.items()}

    def labels_json(self) -> dict[str, Any]:
        """Rates of each label and the confusion, as plain data; nothing of tasks without labels."""
        keys, confusion = ("pictures", *LabelRates._fields[1:]), self.confusion()
        rows = {name: dict(zip(keys, row, strict=True)) for name, row in self.label_rates()}
        return {"labels": rows} | ({} if confusion is None else {"confusion": confusion.tolist()})

    def _threshold_json(self) -> dict[str, Any] | None:
        if not (found := self.threshold):
            return None
        rates = {name: getattr(found, name) for name in ("fpr", "tpr", "precision")}
        return {
            "value": found.threshold,
            "chosen": self.chosen,
            "interval": found.interval and list(found.interval),
            **found.counts._asdict(),
            **{name: rate and rate._asdict() for name, rate in rates.items()},
            "promised_fpr": self.expected_fpr and list(self.expected_fpr),
            "warnings": list(found.warnings),
        }


def _numbers(found: Evaluation) -> dict[str, Any]:
    metrics = {name: value for name, value in found.metrics.items() if math.isfinite(value)}
    return {"metrics": metrics, "pictures": len(found.paths)}


def subject_of_bundle(bundle: Bundle, recipe: Recipe | None = None) -> Subject:
    """A bundle in ONNX Runtime.

    Args:
        bundle: the bundle.
        recipe: names the images and the metrics. Default: none.

    Raises:
        ConfigError: no labels of images are known for its task.
    """
    about = bundle.manifest
    if not tasks.task_of_bundle(about).targets():
        what = f"its {about.postprocess['name']} cannot be evaluated yet"
        raise ConfigError(str(bundle.folder), what)
    session = engines.build({"name": "onnxruntime"}, model=bundle.model, threads=1)
    transforms = Compose.from_specs(about.transforms, "transforms")
    task = tasks.task_of_recipe(recipe) if recipe else tasks.task_of_bundle(about)
    return Subject(task.predict_with(session, about), transforms, about.labels, task, recipe, about)


def subject_of_recipe(predict: Predict, recipe: Recipe) -> Subject:
    """A trained network and the recipe of its run.

    Args:
        predict: (N, C, H, W) float32 to scores.
        recipe: of the run, with its labels.
    """
    labels, task = label_names(recipe.data), tasks.task_of_recipe(recipe)
    return Subject(predict, recipe.eval_transforms(), labels, task, recipe)


def images_of(
    subject: Subject, list_file: str | Path | None = None, root: str | Path | None = None
) -> Sequence[Sample]:
    """The labelled images that a subject is evaluated on.

    Args:
        subject: the network.
        list_file: a list file. Default: the evaluation images of the recipe.
        root: folder of the images. Default: that of the recipe, or the list file's.

    Raises:
        ConfigError: neither a list nor a recipe names images, or the recipe names other labels than the network has.
        DataError: a list is wrong.
    """
    recipe, labels = subject.recipe, subject.labels
    if list_file:
        if any(hasattr(t, "read_split") for t in subject.task.targets().values()):
            hint = "add -c RECIPE, whose data.eval names coco or voc"
            raise ConfigError("--list", "boxes are in annotation files", hint)
        target = recipe.data.target if recipe else next(iter(subject.task.targets()))
        delimiter = recipe.data.delimiter if recipe else None
        root = root or Path(list_file).parent
        known = len(labels) if subject.task.has_classes else None
        return read_list(list_file, root, known, delimiter, target=target, names=labels)
    if recipe is None:
        raise ConfigError("--bundle", "which images?", "add --list FILE, or -c RECIPE")
    return _read(subject, recipe, recipe.data.first_eval, root)


def _read(
    subject: Subject, recipe: Recipe, split: EvalSplit, root: str | Path | None = None
) -> SampleList:
    """The images of a split, labelled by the ids of the subject, and perhaps in another place."""
    data = recipe.data.model_copy(update={"root": str(root)} if root else {})
    kind = tasks.target_of(data.target)
    if data.labels is None or data.relabel or kind.open_set or hasattr(kind, "read_split"):
        known = subject.labels if subject.task.has_classes else data.labels
        return read_split(data.model_copy(update={"labels": known}), split)
    return in_order_of(subject.labels, label_names(data), read_split(data, split))


def in_order_of(labels: Sequence[str], given: Sequence[str], samples: SampleList) -> SampleList:
    """Images that are labelled by the ids of `given`, by those of a network's `labels` instead.

    Raises:
        ConfigError: the network has no output for a name.
    """
    if tuple(labels) == tuple(given) or not labels:
        return samples
    place = {name: i for i, name in enumerate(labels)}
    many = has_many(samples.labels)
    more = [*labels][len(given) :] if many else []
    if strange := [name for name in given if name not in place] or more:
        names = ", ".join(strange[:_SHOWN])
        what = f"{names}: not among the labels that the network was trained on"
        raise ConfigError("data.labels", what, f"these are {', '.join(labels[:_SHOWN])}")
    order = np.array([place[name] for name in given])
    values = samples.labels
    if many:
        return samples.with_labels(values[:, np.argsort(order)])
    return samples.with_labels(np.where(values < 0, values, order[values]).astype(values.dtype))


def assess(
    subject: Subject,
    samples: Sequence[Sample] | None = None,
    *,
    latency: bool = False,
    every: bool = False,
) -> EvaluationReport:
    """Evaluate a network and report on it.

    The threshold of a bundle is its own. That of a trained network is chosen here, as its recipe
    asks; where these images cannot give it, `threshold` is None and `chosen` says why.

    Args:
        subject: the network; it needs a recipe, or a manifest and `samples`.
        samples: labelled images. Default: `images_of` the subject.
        latency: also time some images, one by one.
        every: evaluate the recipe's further splits too.

    Raises:
        ConfigError: an operating point that is not supported, or labels that do not fit.
        DataError: the evaluation list cannot be read, or no image of it.
    """
    predict, transforms, labels, task, recipe, manifest = subject
    splits = recipe.data.eval_splits if recipe else {}
    further = dict(list(splits.items())[1:]) if every and samples is None else {}
    samples = images_of(subject) if samples is None else samples
    specs = [m.spec for m in recipe.metrics] if recipe else task.default_metrics
    size = recipe.data.eval_batch_size if recipe else 64

    def measured(images: Sequence[Sample]) -> Evaluation:
        return evaluate(
            predict, images, transforms, specs, batch_size=size, labels=labels, task=task
        )

    found = measured(samples)
    others = {n: measured(_read(subject, recipe, s)) for n, s in further.items()} if recipe else {}
    times = measure_latency(predict, found.paths, transforms) if latency else None
    report = report_of(found, labels, recipe, manifest, times)
    if recipe and report.calibrated and (by := report.temperature) is not None:
        others = {name: _calibrated(other, by, recipe) for name, other in others.items()}
    return replace(report, others=others, name=next(iter(splits), "")) if others else report


def _calibrated(found: Evaluation, temperature: float, recipe: Recipe) -> Evaluation:
    scores = found.task.apply_temperature(found.scores, temperature).astype(np.float32)
    specs = [m.spec for m in recipe.metrics]
    values = compute_metrics(specs, scores, found.labels, found.roles)
    return replace(found, scores=scores, metrics=values)


def report_of(
    found: Evaluation,
    labels: Sequence[str],
    recipe: Recipe | None = None,
    manifest: Manifest | None = None,
    latency: Latency | None = None,
) -> EvaluationReport:
    """The report on an evaluation.

    Args:
        found: the evaluation.
        labels: the K label names.
        recipe: of a trained network; its threshold is chosen on these images, see `assess`.
        manifest: of a bundle; it has its own threshold. One of the two is needed.
        latency: of one image. Default: not measured.

    Raises:
        ConfigError: the recipe asks for an operating point that is not supported.
    """
    task, shipped, calibrate, point, expected = found.task, None, False, None, None
    temperature = task.fit_temperature(found.scores, found.labels)
    if manifest:
        spec, shipped = manifest.postprocess, manifest.threshold
    else:
        assert recipe is not None  # only a bundle goes without
        spec, point = recipe.export.postprocess.spec, recipe.export.operating_point
        calibrate = recipe.export.calibrate
        if calibrate and temperature is not None:
            found = _calibrated(found, temperature, recipe)
    chosen = shipped.chosen if shipped else f"none: the post-processor is {spec['name']}"
    try:
        result = thresholds.choose_threshold(found, point, spec, labels)
    except DataError as error:
        result, chosen = None, str(error)
    if result and manifest:
        ends = shipped.interval if shipped else None
        result = result._replace(interval=ends and Interval(*ends))
        expected = thresholds.fpr_on_new_images(manifest, result.counts.negatives)
    elif result:
        chosen = thresholds.describe_rule(result, point is not None)
    binary = thresholds.threshold_scores(found, spec, labels)
    calibration = task.calibration(found.scores, found.labels)
    report = EvaluationReport(
        tuple(labels), found, binary, result, chosen,
        calibration, temperature, calibrate, latency, expected,
    )  # fmt: skip
    specs = [m.spec for m in recipe.metrics] if recipe else task.default_metrics
    intervals = metric_intervals(found, specs, task.outcomes(report.scored))
    return replace(report, intervals=intervals)
