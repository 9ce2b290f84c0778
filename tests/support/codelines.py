"""Code lines: lines with a token that is neither comment nor docstring. The suite ends with a table of them."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import tinysight

SRC = Path(tinysight.__file__).parent
FILES = sorted(SRC.rglob("*.py"))

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


@cache
def code_lines(path: Path) -> int:
    text = path.read_text("utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                documented |= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def table() -> Counter[str]:
    lines: Counter[str] = Counter()
    for path in FILES:
        lines[name(path).split("/")[0] if "/" in name(path) else "."] += code_lines(path)
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = table()
    terminalreporter.section("code lines by package")
    for package, count in lines.most_common():
        terminalreporter.write_line(f"{count:7d}  {package}")
    terminalreporter.write_line(f"{sum(lines.values()):7d}  all")
