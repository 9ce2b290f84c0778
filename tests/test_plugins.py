"""Plugins: loaded once, named in every record, missed with a clear message, found by other processes."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest

from support.commands import Completed, process
from support.tiny import make_images, write_recipe
from tinysight import plugins, registry
from tinysight.config.load import check_tree, load_recipe
from tinysight.errors import ConfigError
from tinysight.files import read_yaml, sha256, to_yaml
from tinysight.plugins import load_plugin
from tinysight.tasks.base import task_of_target
from tinysight.tasks.classification import ClassificationTask
from tinysight.tasks.embedding import Embedding, EmbeddingTask
from tinysight.transforms import Compose

TRANSFORM = """
from dataclasses import dataclass

from tinysight import registry


@registry.transforms.register("{name}")
@dataclass(frozen=True)
class Invert:
    by: int = 255

    def __call__(self, image, rng=None):
        return self.by - image
"""


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is no component of the tests after it."""
    registry.transforms.names()  # ours stay
    for name in ("_entries", "_names", "_schemas"):
        monkeypatch.setattr(registry.transforms, name, dict(getattr(registry.transforms, name)))
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setenv("TINYSIGHT_PLUGINS", "")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def plugin(folder: Path, name: str) -> Path:
    return write(folder / f"{name}.py", TRANSFORM.format(name=name))


def test_a_plain_dataclass_is_a_transform(tmp_path: Path) -> None:
    loaded = load_plugin(plugin(tmp_path, "invert_a"))
    assert loaded == load_plugin(tmp_path / "invert_a.py")
    assert loaded.sha256 == sha256((tmp_path / "invert_a.py").read_bytes())
    steps = Compose.from_specs([{"name": "Invert-A", "by": 100}])
    assert (steps.random, steps.sets_label) == (False, False)
    assert steps(np.full((2, 2, 3), 99, np.uint8)).tolist() == np.ones((2, 2, 3)).tolist()
    assert registry.transforms.plugin("invert_a") == str(tmp_path / "invert_a.py")
    assert registry.transforms.plugin("resize") is None


def test_an_edited_file_replaces_what_it_registered(tmp_path: Path) -> None:
    file = plugin(tmp_path, "invert_b")
    load_plugin(file)
    write(file, file.read_text("utf-8").replace("by: int", "plus: float = 0.0\n    by: int"))
    load_plugin(file)
    full, problems = registry.transforms.check({"name": "invert_b"}, "")
    assert (full, problems) == ({"name": "invert_b", "plus": 0.0, "by": 255}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"broken\.py: SyntaxError: "),
        ("\nimport no_such_thing", r"broken\.py:2: ModuleNotFoundError: No module named 'no_such_thing'"),
        (TRANSFORM.format(name="resize"), r"broken\.py:7: ValueError: transform 'resize' is registered twice"),
        ("from tinysight.errors import DataError\nraise DataError('here', 'is wrong')", "here: is wrong"),
        ("import sys\nsys.exit(3)", r"broken\.py:2: SystemExit: 3"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_is_one_message(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message) as caught:
        load_plugin(write(tmp_path / "broken.py", text))
    assert type(caught.value).__module__ == "tinysight.errors"
    assert not [name for name in sys.modules if name.startswith("tinysight.plugins.broken")]


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin .*none\.py: no such file"):
        load_plugin(tmp_path / "none.py")


def test_what_is_no_python_file(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    for name in ("folder.py", "plain", "invert.txt"):
        if not (tmp_path / name).is_dir():
            write(tmp_path / name, TRANSFORM.format(name="invert_e"))
        with pytest.raises(ConfigError, match=rf"{name}: is no Python file; name one, FILE\.py"):
            load_plugin(tmp_path / name)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for i, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "same.py", TRANSFORM.format(name=f"invert_g{i}"))
    tree = read_yaml(write_recipe(make_images(tmp_path / "images")))
    tree["plugins"] = ["one/same.py", "two/same.py"]
    with pytest.raises(ConfigError, match=r"plugins: 2 are called same\.py; rename one of them"):
        load_recipe(write(tmp_path / "r.yaml", to_yaml(tree)))


def test_records_that_are_none_are_problems_of_the_recipe(tmp_path: Path) -> None:
    entries = [{"name": 3, "sha256": "a"}, {"name": "a.py", "sha256": "b", "file": 5}, None]
    for entry in entries:
        recipe, problems = check_tree({"plugins": [entry]})
        assert recipe is None
        assert any(p.where.startswith("plugins.0") for p in problems), problems


def test_a_postprocess_that_extends_one_chooses_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities are read by two tasks; a post-processor of vectors means that of vectors."""
    for name in ("_entries", "_names"):
        known = dict(getattr(registry.postprocesses, name))
        monkeypatch.setattr(registry.postprocesses, name, known)

    @registry.postprocesses.register("shorter")
    class Shorter(Embedding):
        """A part of the vector."""

    assert isinstance(task_of_target("identity", "shorter"), EmbeddingTask)
    assert isinstance(task_of_target("identity", "topk"), ClassificationTask)


def test_a_spawned_process_finds_them(tmp_path: Path) -> None:
    folder = tmp_path / "a:b c"
    folder.mkdir()
    load_plugin(plugin(folder, "invert_c"))
    load_plugin(plugin(tmp_path, "invert_f"))
    steps = Compose.from_specs([{"name": "invert_c"}])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(steps, (np.zeros((1, 1, 3), np.uint8),))
    assert found.tolist() == [[[255, 255, 255]]]


def test_an_installed_package(tmp_path: Path) -> None:
    """A package on the path as `pip` would lay it out; and one that is broken, which is only logged."""
    write(tmp_path / "pebbles.py", TRANSFORM.format(name="invert_d"))
    for name, module in (("pebbles", "pebbles"), ("gravel", "no_such_module")):
        meta = tmp_path / f"{name}-1.5.dist-info"
        meta.mkdir()
        write(meta / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        write(meta / "entry_points.txt", f"[tinysight.components]\n{name} = {module}\n")
    tree = read_yaml(write_recipe(make_images(tmp_path / "images")))
    tree["transforms"]["train"].insert(0, {"name": "invert_d"})
    write(tmp_path / "r.yaml", to_yaml(tree))
    shown = run("recipe", "show", "r.yaml", folder=tmp_path, PYTHONPATH=str(tmp_path))
    digest = sha256((tmp_path / "pebbles.py").read_bytes())
    assert f"plugins:\n- name: pebbles 1.5\n  sha256: {digest}\n  file: null\n" in shown.out
    write(tmp_path / "made.yaml", shown.out)
    (tmp_path / "pebbles-1.5.dist-info" / "entry_points.txt").unlink()
    shown = run("recipe", "check", "made.yaml", folder=tmp_path, code=2, PYTHONPATH=str(tmp_path))
    assert "made.yaml: needs the plugin pebbles 1.5; pip install pebbles" in shown.err


def run(*words: str, folder: Path, code: int = 0, **variables: str | None) -> Completed:
    """The command in a process of its own, which no other test has given a plugin."""
    done = process(*words, cwd=folder, **{"TINYSIGHT_PLUGINS": None, **variables})
    assert done.code == code, done.out + done.err
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command line trained with a plugin, and its bundle."""
    root = tmp_path_factory.mktemp("plugins")
    tree = read_yaml(write_recipe(make_images(root / "images")))
    for part in ("train", "eval"):
        tree["transforms"][part].insert(0, {"name": "invert"})
    write(root / "r.yaml", to_yaml(tree))
    plugin(root, "invert")
    run("train", "-c", "r.yaml", "--plugin", "invert.py", "--out", "run", folder=root)
    run("export", "--run", "run", "--out", "bundle", folder=root)
    return root


def test_runs_and_bundles_record_them(made: Path) -> None:
    digest = sha256((made / "invert.py").read_bytes())
    record = {"name": "invert.py", "sha256": digest}
    assert read_yaml(made / "run" / "recipe.yaml")["plugins"] == [
        {**record, "file": str(made / "invert.py")}
    ]
    manifest = json.loads((made / "bundle" / "bundle.yaml").read_text("utf-8"))
    assert manifest["recipe"]["plugins"] == [{**record, "needed_for": ["invert"]}]


def test_predict_asks_for_them(made: Path) -> None:
    words = ("predict", "images/val_0.png", "--model", "bundle")
    missed = run(*words, folder=made, code=2)
    assert "bundle: needs the plugin invert.py (invert); add --plugin invert.py" in missed.err
    assert "class_ids" in run(*words, "--plugin", "invert.py", folder=made).out
    words = ("bench", "bundle", "--limit", "1", "--seconds", "0", "--no-sweep")
    assert "cold, whole process" in run(*words, "--plugin", "invert.py", folder=made).out


@pytest.mark.slow
def test_a_changed_file_is_refused_or_warned_of(made: Path, tmp_path: Path) -> None:
    for name in ("images", "run", "bundle"):
        (tmp_path / name).symlink_to(made / name)
    recipe = (made / "run" / "recipe.yaml").read_text("utf-8").replace(str(made), str(tmp_path))
    changed = write(tmp_path / "invert.py", TRANSFORM.format(name="invert") + "\n# changed\n")
    write(tmp_path / "moved.yaml", recipe)
    shown = run("recipe", "check", "moved.yaml", folder=tmp_path, code=2)
    assert f"and {changed} has changed since; add --plugin invert.py to use another" in shown.err
    shown = run("recipe", "check", "moved.yaml", "--plugin", "invert.py", folder=tmp_path)
    assert "was made with another version of the plugin invert.py" in shown.err
    words = ("train", "-c", "r.yaml", "--plugin", "invert.py", "--out", "run", "--resume")
    tree = read_yaml(made / "r.yaml")
    write(tmp_path / "r.yaml", to_yaml(tree))
    shown = run(*words, folder=tmp_path, code=2)
    assert "holds a run of another recipe: plugins.0.sha256: " in shown.err
