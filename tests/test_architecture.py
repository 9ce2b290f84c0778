"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinysight
from support.commands import python
from tinysight.tasks import base

SRC = Path(tinysight.__file__).parent
FILES = sorted(SRC.rglob("*.py"))

# A module may import modules of its own level and below.
LEVEL = {
    "__init__": 12,  # lazy names of everything, for type checkers
    "__main__": 12,
    "errors": 0,
    "concurrency": 1,
    "disk": 1,
    "files": 1,
    "validation": 1,
    "fetch": 2,
    "plugins": 2,  # files that register
    "graph": 2,  # ONNX files without the onnx package
    "registry": 2,
    "config": 3,
    "foreign": 3,  # config and training ask it; it imports `compat` by name, when asked
    "losses": 3,
    "metrics": 3,
    "models": 3,
    "transforms": 3,
    "bundle": 4,
    "data": 4,
    "tasks": 4,
    "engines": 5,
    "evaluation": 5,
    "gallery": 6,  # opens bundles, and is what some pipelines ask
    "pipelines": 6,
    "batch": 7,
    "certificate": 7,
    "report": 7,
    "runs": 7,  # reads run folders; `training` writes them
    "serving": 7,
    "training": 8,
    "search": 9,
    "export": 9,
    "distill": 10,
    "starter": 10,
    "compat": 10,
    "cli": 11,
}
TORCH_SHORE = ("distill", "export", "losses", "models", "search", "starter", "training")
TORCH_EXCEPTIONS = (  # the rest of their packages is NumPy
    *("data/loader.py", "data/mix.py"),
    "engines/torch_graph.py",
)
NO_RECIPES = ("engines", "losses", "metrics", "models", "transforms")


def part_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def on_numpy_shore(path: Path) -> bool:
    name = path.relative_to(SRC).as_posix()
    return name not in TORCH_EXCEPTIONS and part_of(path) not in TORCH_SHORE


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import out in full"
            if node.module == "tinysight":
                yield from ((node.lineno, f"tinysight.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SRC).as_posix())
def test_imports_point_down(path: Path) -> None:
    here = part_of(path)
    for line, module in imports(path):
        first, _, rest = module.partition(".")
        if first != "tinysight" or not rest or rest.startswith("__"):
            continue
        there = rest.split(".")[0]
        assert LEVEL[there] <= LEVEL[here], f"{path}:{line} imports the higher layer {there}"
        assert not (there == "config" and here in NO_RECIPES), (
            f"{path}:{line}: {here} takes no recipe"
        )


@pytest.mark.parametrize(
    "path", [p for p in FILES if on_numpy_shore(p)], ids=lambda p: p.relative_to(SRC).as_posix()
)
def test_numpy_shore_names_no_torch(path: Path) -> None:
    for line, module in imports(path):
        parts = module.split(".")
        assert parts[0] != "torch", f"{path}:{line}"
        if (
            part_of(path) not in ("cli", "__init__", "__main__")
            and parts[0] == "tinysight"
            and len(parts) > 1
        ):
            target = SRC.joinpath(*parts[1:])
            files = (target.with_suffix(".py"), target / "__init__.py")
            shore = [on_numpy_shore(f) for f in files if f.is_file()]
            assert all(shore), f"{path}:{line} crosses to the torch shore: {module}"


def test_numpy_shore_runs_without_torch() -> None:
    """A fresh interpreter in which torch cannot be imported imports every module of the shore."""
    modules = [
        ".".join(("tinysight", *p.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
        for p in FILES
        if on_numpy_shore(p)
    ]
    code = f"import sys, importlib; sys.modules['torch'] = None\nfor m in {modules!r}: importlib.import_module(m)"
    done = python("-c", code)
    assert done.code == 0, done.err


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, tinysight\n"
        "heavy = {'torch', 'onnxruntime', 'cv2', 'numpy', 'pydantic', 'yaml', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-c", code)
    assert done.code == 0, done.err


FORBIDDEN = re.compile(
    r"(?<![\w.])(eval|exec)\(|pickle\.loads?\(|import pickle\b|\byaml\.(load|unsafe_load|full_load)\("
    r"|shell\s*=\s*True|os\.system\(|torch\.load\((?!.*weights_only=True)"
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SRC).as_posix())
def test_nothing_runs_text_as_code(path: Path) -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found


def test_public_names_are_sorted_and_exist() -> None:
    assert tinysight.__all__ == sorted(tinysight.__all__)
    for name in tinysight.__all__:
        assert getattr(tinysight, name) is not None
    for path in SRC.rglob("__init__.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                assert names == sorted(names), f"{path}: __all__ is not sorted"


# The kind of answer is a task's to know. Rows of labels are told from single ones in one place of each layer; soft
# targets of a loss, pixels and weights are other arrays.
KNOW_KINDS = ("compat", "config", "tasks")
KNOW_AXES = (*KNOW_KINDS, "fetch", "losses", "models", "transforms")
ONE_PLACE = ("data/mix.py", "data/samples.py", "metrics/checks.py")
NOT_KINDS = {(file, "identity") for file in ("fetch/download.py", "serving/guard.py")}  # of HTTP


def kinds_of_answer() -> set[str]:
    known = base.all_tasks()
    return {*known, *base.target_names()}.union(*(task.postprocesses for task in known.values()))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SRC).as_posix())
def test_only_tasks_know_the_kind_of_answer(path: Path) -> None:
    here = path.relative_to(SRC).as_posix()
    kinds = kinds_of_answer()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.match_case):
            sides: list[ast.AST] = list(ast.walk(node.pattern))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            sides += [one for side in sides for one in getattr(side, "elts", ())]
        else:
            continue
        texts = [side.value for side in sides if isinstance(side, ast.Constant)]
        if part_of(path) not in KNOW_KINDS:
            found = kinds.intersection(t for t in texts if isinstance(t, str))
            found -= {name for file, name in NOT_KINDS if file == here}
            # `"threshold" in spec` asks for a key, not for a kind.
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                found -= {node.left.value} if isinstance(node.left, ast.Constant) else set()
            assert not found, f"{path}:{node_line(node)} tests the kind of answer: {found}"
        if part_of(path) not in KNOW_AXES and here not in ONE_PLACE:
            named = [n for side in sides for n in ast.walk(side) if isinstance(n, ast.Attribute)]
            axes = any(n.attr == "ndim" and LABELS.search(ast.unparse(n.value)) for n in named)
            assert not (axes and 2 in texts), f"{path}:{node_line(node)} tests the axes of labels"


LABELS = re.compile(r"label|target|truth|known")


def node_line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0) or getattr(getattr(node, "pattern", None), "lineno", 0)
