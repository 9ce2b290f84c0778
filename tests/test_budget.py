"""How large the program and its files may be, in code lines."""

from __future__ import annotations

import ast
from pathlib import Path

from support.codelines import FILES, code_lines, name, table

# What each part may grow to. A feature pays for its lines, or raises the number where reviewers see it.
BUDGET = {"compat": 5500, "engines": 1200, "serving": 2020}
ALL = 35_265
SHORTEST, LONGEST = 40, 400  # of a source file
SHORT_ON_PURPOSE = {  # faces, and families of one table
    "__main__.py",
    "models/mobilenetv1.py",
}


def test_lines_are_counted_as_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        '"""Doc."""\n\n# comment\nx = (\n    1,\n)  # here\n\n\ndef f():\n    """D\n    d."""\n'
    )
    assert code_lines(path) == 4


def test_the_program_keeps_within_its_budget() -> None:
    lines = table()
    assert sum(lines.values()) <= ALL
    for package, most in BUDGET.items():
        assert lines[package] <= most, package


def test_files_are_neither_scraps_nor_heaps() -> None:
    counted = {name(path): code_lines(path) for path in FILES}
    assert {file: n for file, n in counted.items() if n > LONGEST} == {}
    short = {
        file
        for file, n in counted.items()
        if n < SHORTEST
        and not file.endswith("__init__.py")
        and not file.startswith("engines/")
        and file not in SHORT_ON_PURPOSE
    }
    assert short == set()
    assert {file for file in SHORT_ON_PURPOSE if counted.get(file, SHORTEST) >= SHORTEST} == set()


def test_no_public_class_name_is_defined_twice() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name(path))
    assert {k: v for k, v in homes.items() if len(v) > 1} == {}
