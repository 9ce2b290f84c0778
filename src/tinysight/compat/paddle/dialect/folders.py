"""Where runs and weights lie: PaddleClas' names for them, in both of its layouts, and ours behind them.

Its newer versions write `output/best_model.pdparams`, the older ones and its documents
`output/<network>/best_model.pdparams`; a name is given without the ending. Our run folder is `output/<network>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tinysight.compat.paddle.dialect.run import Run
from tinysight.errors import CheckpointError

_CHECKPOINTS = {"best_model": "best.safetensors", "latest": "last.safetensors"}
_SUFFIX = ".pdparams"


def run_folder(run: Run) -> Path:
    """Where a training run of this configuration lies."""
    folder = Path(run.output_dir)
    return folder if folder.name == run.network else folder / run.network


def find_weights(name: str, run: Run, where: str = "Global.pretrained_model") -> Path | str:
    """What the name of weights means: a file, or an address.

    Args:
        name: `output/best_model`, `output/<network>/best_model`, with or without `.pdparams`, a run folder, any file
            of weights, an https address, or the name of published weights.
        run: of the configuration.
        where: the key that says it.

    Raises:
        CheckpointError: there is nothing; says where it was looked for.
    """
    if "://" in name:
        return name
    looked = list(dict.fromkeys(_places(name, run)))
    found = next((path for path in looked if path.is_file()), None)
    if found is not None:
        return found
    if Path(name).name == name and not Path(name).suffix:
        return name  # published weights, perhaps
    best = run_folder(run) / "checkpoints" / _CHECKPOINTS["best_model"]
    hint = f"there is {run_folder(run) / 'best_model'}" if best.is_file() else "train first"
    what = f"{where}: no such weights; looked for {', '.join(map(str, looked))}"
    raise CheckpointError(name, what, hint)


def find_run(name: str, run: Run) -> Path:
    """The run folder that `Global.checkpoints` goes on with; raises as `find_weights`."""
    where = "Global.checkpoints"
    path = Path(name).with_name("latest")  # of an epoch that is named we keep the last one
    try:
        found = Path(find_weights(str(path), run, where))
    except CheckpointError as error:
        raise CheckpointError(name, error.problems[0].what, error.problems[0].hint) from None
    if found.suffix == _SUFFIX:
        what = f"{where}: holds the state of another framework's optimiser"
        raise CheckpointError(str(found), what, "Global.pretrained_model begins with its weights")
    return found.parent.parent


def _places(name: str, run: Run) -> Iterator[Path]:
    plain = Path(name.removesuffix(_SUFFIX))
    yield Path(name)
    yield plain.with_name(plain.name + _SUFFIX)
    yield plain / f"model{_SUFFIX}"
    yield plain / "checkpoints" / _CHECKPOINTS["best_model"]  # a run folder itself
    if ours := _CHECKPOINTS.get(plain.name):
        folder = plain.parent
        folders = [folder, folder / run.network]
        if folder.name == run.network:
            folders.append(folder.parent)
        yield from (place / "checkpoints" / ours for place in folders)
