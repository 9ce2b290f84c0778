"""Runs another program that reads bundles, and reads its results.

It is run as `tinysight predict` would be, without a shell, and has to print the same JSON lines:

    PROGRAM predict LIST --model FOLDER --json --exact [--topk K]

LIST names a file in each line. Of a classifier's bundle it is run twice: for its own results, and with
`--topk` and the number of classes for every score.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.certificate.compare import EngineOutputs
from tinysight.errors import ConfigError, DataError
from tinysight.pipelines.comparable import DecidedScores, comparable
from tinysight.pipelines.sources import ImageInput, one_image
from tinysight.tasks.postprocess import decides_by_best_class, has_scores
from tinysight.tasks.results import ClassResult, Result, Unreadable, result_from_json

_LIST = "files.txt"  # names a file in each line
_HINT = "it is run as `tinysight predict LIST --model FOLDER --json --exact` and has to print the same lines"


class ExternalPredictor(NamedTuple):
    """A program and the bundle that it is given."""

    path: Path
    bundle: Bundle

    @classmethod
    def find(cls, program: str | Path, bundle: Bundle) -> ExternalPredictor:
        """The program at a path, or of this name among the system's commands.

        Raises:
            ConfigError: there is none.
        """
        found = str(program) if Path(program).is_file() else shutil.which(program)
        if found is None:
            hint = "give the path of a program, such as build/cpp/tinysight-cpp after `make cpp`"
            raise ConfigError("--program", f"no such program: {program}", hint)
        return cls(Path(found).absolute(), bundle)

    def outputs(self, images: Sequence[ImageInput | str]) -> EngineOutputs:
        """Its results for these files; those in memory are written to a temporary folder for it.

        Raises:
            ConfigError: it cannot be run, ends with a mistake, or prints something else.
            DataError: a file's name cannot stand in a list.
        """
        manifest = self.bundle.manifest
        with tempfile.TemporaryDirectory(prefix="tinysight-") as folder:
            by_path = _write(images, Path(folder).resolve())
            if not has_scores(manifest.postprocess):
                return self._ask(folder, by_path)
            scores = self._ask(folder, by_path, len(manifest.labels))
            best = decides_by_best_class(manifest.postprocess)
            decided = scores if best else self._ask(folder, by_path)
        if differs := sorted(scores.keys() ^ decided.keys()):
            what = f"answers about {differs[0]} with --topk or without, and refuses it otherwise"
            raise self._error(what)
        return {name: _with_scores(decided[name], scores[name]) for name in scores}

    def _ask(
        self, folder: str, by_path: Mapping[str, ImageInput], classes: int | None = None
    ) -> dict[str, Result]:
        """The result for each file that the program reads, by the file's name; of `classes` all of them."""
        out = Path(folder, "answers")
        last = self._run(Path(folder, _LIST), out, ["--topk", str(classes)] if classes else [])
        results: dict[str, Result] = {}
        labels = self.bundle.manifest.labels
        left = dict(by_path)
        with out.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    image = left.pop(row["filename"])
                    if classes and "error" not in row:  # of these only ids and scores count
                        row["label_names"] = [labels[i] for i in row["class_ids"]]
                    result = result_from_json({**row, "filename": image.name})
                    if isinstance(result, Unreadable):
                        continue
                    ids = sorted(result.class_ids) if isinstance(result, ClassResult) else None
                    if classes and ids != list(range(classes)):
                        raise ValueError(f"expected {classes} classes")
                    point = self.bundle.manifest.threshold
                    least = point.value if point else 0.0
                    results[result.filename] = comparable(result, image, least)
                except (ValueError, LookupError, TypeError, RecursionError, DataError):
                    text = line[:100].decode("utf-8", "replace").rstrip("\n")
                    what = f"line {number} of what it prints is no answer about one of the files: "
                    raise self._error(what + repr(text)) from None
        if left:
            names = ", ".join([image.name for image in left.values()][:3])
            what = f"says nothing about {len(left)} of {len(by_path)} files: {names}"
            raise self._error(what + (f"; its last words: {last}" if last else ""))
        return results

    def _run(self, listing: Path, out: Path, options: Sequence[str]) -> str:
        """Run it; what it prints is then in `out`, and the last line of its errors is returned."""
        model = str(self.bundle.folder.absolute())
        words = [str(self.path), "predict", str(listing), "--model", model, "--json", "--exact"]
        try:
            with out.open("wb") as target:
                done = subprocess.run(
                    [*words, *options], stdin=subprocess.DEVNULL, stdout=target,
                    stderr=subprocess.PIPE, check=False,
                )  # fmt: skip
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror or error}") from None
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else ""
        if done.returncode not in (0, 1):  # 1: an image could not be read
            how = "was ended by signal" if done.returncode < 0 else "ended with exit code"
            how = f"{how} {abs(done.returncode)}"
            raise self._error(how + (f": {last}" if last else ""))
        return last

    def _error(self, what: str) -> ConfigError:
        return ConfigError(f"--program {self.path}", what, _HINT)


def _write(images: Sequence[ImageInput | str], folder: Path) -> dict[str, ImageInput]:
    """Write the list of the images and those that are in memory; all of them by path."""
    (folder / "files").mkdir()
    by_path: dict[str, ImageInput] = {}
    for image in map(one_image, images):
        if isinstance(image.data, str):
            path = Path(image.data).absolute()
        else:
            assert isinstance(image.data, bytes)
            path = folder / "files" / image.name
            path.write_bytes(image.data)
        if set("\t\r\n") & set(str(path)) or str(path) != str(path).strip():
            what = "a line of a list cannot hold this name, which has a tab, a line end or a blank at its end"
            raise DataError(str(path), what, "rename the image")
        by_path[str(path)] = image
    text = "".join(f"{path}\n" for path in by_path)
    (folder / _LIST).write_text(text, "utf-8", errors="surrogateescape", newline="\n")
    return by_path


def _with_scores(decided: Result, scores: Result) -> DecidedScores:
    """All scores in the order of the classes, and the decision; of the best of all classes the first."""
    assert isinstance(scores, ClassResult)
    if decided is scores:
        fields = (scores.class_ids, scores.scores, scores.label_names)
        decided = ClassResult("", *(field[:1] for field in fields))  # type: ignore[arg-type]
    ordered = np.empty(len(scores.scores))
    ordered[scores.class_ids] = scores.scores
    return DecidedScores(scores.filename, ordered, decided.decision())
