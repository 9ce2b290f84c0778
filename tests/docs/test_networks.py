"""The tables of docs/networks are current, and no network is without a page."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from support.commands import python
from tinysight.compat.paddle.catalog import find
from tinysight.errors import UnknownName
from tinysight.files import read_yaml
from tinysight.models import cost, create_model_without_weights, list_models

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted(p for p in (REPO / "docs" / "networks").glob("*.md") if p.name != "README.md")
SMALL = 300_000_000  # multiply-accumulates; counting those of larger networks takes too long here


def cells(page: Path) -> dict[str, list[str]]:
    """The cells of each network's line, by its name."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    parts = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): rest for name, *rest in parts}


def shown() -> dict[str, list[str]]:
    return {name: rest for page in PAGES for name, rest in cells(page).items()}


def test_every_network_is_on_exactly_one_page() -> None:
    names = [name for page in PAGES for name in cells(page)]
    assert sorted(names) == list_models()


@pytest.mark.parametrize(
    "name", [n for n, c in shown().items() if int(c[1].replace(",", "")) <= SMALL]
)
def test_parameters_macs_and_input_are_current(name: str) -> None:
    model = create_model_without_weights(name)
    model.reparameterize()
    parameters, macs, size = cost(model)
    assert shown()[name][:3] == [f"{parameters:,}", f"{macs:,}", str(size)]


def test_the_published_figures_are_shown_with_a_source_that_the_page_names() -> None:
    published = read_yaml(REPO / "benchmarks" / "published.yaml")
    assert published["top1"].keys() <= set(list_models())
    for page in PAGES:
        text = page.read_text("utf-8")
        for name, (_, _, _, plain, distilled, *_) in cells(page).items():
            figures = published["top1"].get(name, {})
            for kind, (value, source) in figures.items():
                cell = distilled if kind == "ssld" else plain
                assert (value, source) in re.findall(r"([\d.]+)[^\[,]* \[(\w+)\]", cell)
                assert f"- [{source}]: " in text and published["sources"][source][2] in text
            if not figures:
                assert plain == distilled == "-"


def test_the_weights_can_be_found_by_the_names_shown() -> None:
    for cell in (c[5] for c in shown().values()):
        for name in re.findall(r"`([^`]+)`", cell):
            assert find(name, "weights").name == name
    with pytest.raises(UnknownName):
        find("PPLCNet_x9_9", "weights")


def test_the_index_has_every_page_and_its_networks() -> None:
    index = (REPO / "docs" / "networks" / "README.md").read_text("utf-8")
    listed = dict(re.findall(r"\]\(([\w-]+\.md)\) \| `([^`]+)`", index))
    assert sorted(listed) == [page.name for page in PAGES]
    for page in PAGES:
        pattern = listed[page.name]
        assert f"<!-- networks: {pattern} -->" in page.read_text("utf-8")
        assert all(fnmatchcase(name, pattern) for name in cells(page))


@pytest.mark.slow
def test_the_benchmark_times_a_network_and_rewrites_only_its_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- networks: mobilenetv1_x0_25 -->\nold\n<!-- end of networks -->\nafter\n",
        encoding="utf-8",
    )
    script = str(REPO / "benchmarks" / "models.py")
    options = ["--only=mobilenetv1_x0_25", "--rounds=1", f"--json={tmp_path / 'times.json'}"]
    done = python(script, *options, f"--pages={tmp_path}")
    assert done.code == 0, done.err
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- networks: ") and text.endswith("networks -->\nafter\n")
    assert "old" not in text
    (row,) = cells(page).values()
    least, median = map(float, row[6].split(", "))
    assert 0 < least <= median
    assert "| `mobilenetv1_x0_25` | 470,072 | 41,030,272 | 224 |" in done.out
