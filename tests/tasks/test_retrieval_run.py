"""A recogniser from its recipe to its report: several evaluation sets, neighbours as images, bad data by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.commands import tinysight
from support.tiny import recipe_tree
from tinysight.config import load_recipe
from tinysight.config.load import check_tree
from tinysight.config.schema import Teacher
from tinysight.errors import ConfigError, DataError
from tinysight.export.bundle import export_bundle
from tinysight.export.variants import add_variants, evaluation_images, find_images
from tinysight.files import to_yaml
from tinysight.models import RecognitionNetwork
from tinysight.training import fit, load_model
from tinysight.training.teachers import load_teacher

COLOURS = [(40, 40, 200), (200, 40, 40), (40, 200, 40), (200, 200, 40), (40, 200, 200)]


def make_data(root: Path) -> dict[str, Any]:
    """Five identities by colour, seen by two cameras; one has a single image to train on. And a recipe."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True)
    lines: dict[str, list[str]] = {"train": [], "query": [], "gallery": []}
    for i in range(40):
        identity, camera = i % 5, i // 5 % 2
        image = np.array(COLOURS[identity]) + rng.integers(-40, 40, (40, 40, 3))
        cv2.imwrite(str(root / f"{i}.png"), image.clip(0, 255).astype(np.uint8))
        if identity < 4 or i == 4:  # one image of the fifth
            lines["train"].append(f"{i}.png {identity}\n")
        if i >= 20:
            lines["query" if camera else "gallery"].append(f"{i}.png {100 + identity} {camera}\n")
    lines["query"].append("0.png 999 1\n")  # of whom the gallery has nothing
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("".join(rows), "utf-8")
    (root / "all.txt").write_text(
        "".join(row[:-2].rstrip() + "\n" for row in lines["gallery"]), "utf-8"
    )
    tree = recipe_tree(root)
    tree["data"] |= {
        "target": "identity",
        "labels": None,
        "sampler": {"name": "pk", "per_identity": 2},
        "eval": {
            "product": {"query": "query.txt", "gallery": "gallery.txt"},
            "self": {"list": "all.txt"},
        },
    }
    tree["model"] |= {
        "neck": {"name": "bn_neck"},
        "head": {"name": "fc", "bias": False, "init_std": 0.001},
    }
    tree.pop("loss")
    tree["losses"] = [
        {"name": "cross_entropy", "label_smoothing": 0.1},
        {"name": "triplet_angular_margin", "absolute_weight": 0.1},
    ]
    tree["metrics"] = [
        {"name": "retrieval", "k": [1, 2], "measures": ["recall", "mAP", "mINP", "precision"]}
    ]
    tree["export"] = {"postprocess": {"name": "embedding"}}
    return tree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("retrieval")
    tree = make_data(root / "images")
    (root / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    done = tinysight("train", "-c", root / "recipe.yaml", "--out", root / "run")
    assert done.code == 0, done.err
    text = "1 of 5 identities have one image, which is never paired with another"
    assert done.err.count(text) == 1
    assert "/4.png" in done.err
    return root


def test_every_set_has_its_row(trained: Path) -> None:
    done = tinysight("eval", "--run", trained / "run")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()[:3]]
    assert rows[0][:3] == ["data", "set", "images"]
    assert [row[0] for row in rows[1:]] == ["product", "self"]
    assert rows[0][3:] == ["recall1", "recall2", "mAP", "mINP", "precision@1", "precision@2"]
    assert [row[1] for row in rows[1:]] == ["21", "10"]
    found = json.loads(tinysight("eval", "--run", trained / "run", "--json").out)
    last = json.loads((trained / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    sets = found["data_sets"]
    assert {f"{n}/{k}": v for n, s in sets.items() for k, v in s["metrics"].items()}.keys() == last[
        "metrics"
    ].keys()
    assert sets["product"]["metrics"] == found["metrics"]
    # Colours alone tell them apart, and the query that nothing belongs to counts in the precision alone.
    product = sets["product"]["metrics"]
    assert product["precision@1"] == pytest.approx(product["recall1"] * 10 / 11)


@pytest.mark.slow
def test_a_variant_is_judged_by_what_is_found(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    run = trained / "run"
    bundle = export_bundle(run, tmp_path / "bundle")
    listed = find_images(trained / "images" / "query.txt", 0)
    assert [sample.label for sample in listed][-1] == 999
    images = evaluation_images(run)
    assert len(images) == 21
    made = add_variants(bundle, ["openvino"], images, out=tmp_path / "more")
    variant = made.manifest.variants["openvino"]
    assert (variant.images, variant.max_score_difference < 1e-3) == (21, True)
    assert variant.lost_points is not None  # near neighbours are told apart by rounding


def test_a_teacher_may_know_other_identities(trained: Path) -> None:
    own = load_model(trained / "run")[1]
    data = own.data.model_copy(update={"labels": 9})
    teacher = {"teacher": Teacher(run=str(trained / "run"))}
    student = own.model_copy(update={"data": data, "teachers": teacher})
    assert isinstance(load_teacher("teacher", student).network, RecognitionNetwork)


def test_the_report_shows_neighbours(trained: Path) -> None:
    page = (trained / "run" / "report.html").read_text("utf-8")
    assert "Best and worst searches" in page
    assert page.count('<div class="search">') == 8
    assert page.count("data:image/jpeg;base64,") >= 8 * 3
    assert "Each data set" in page
    part = page.split("<h3>Search</h3>")[1].split("</table>")[0]
    assert ">queries of another identity<" in part.replace(" ", " ")
    for words in ("queries", "gallery", "identities with one image"):
        assert words in part


def test_an_unreadable_image_is_left_out_of_both_sides(trained: Path, tmp_path: Path) -> None:
    tree = make_data(tmp_path / "images")
    for i in (25, 20):  # a query, and one of the gallery
        (tmp_path / "images" / f"{i}.png").write_bytes(b"no image")
    (tmp_path / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    done = tinysight("eval", "--run", trained / "run", "-c", tmp_path / "recipe.yaml", "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert [Path(u["path"]).name for u in found["unreadable"]] == ["25.png", "20.png"]
    assert found["data_sets"]["product"]["pictures"] == 19
    assert found["metrics"]["recall1"] <= 1.0


@pytest.mark.parametrize(
    ("lists", "change", "message"),
    [
        ({"query": "0.png 5 1\n", "gallery": "1.png 6 1\n"}, {}, "no query has anything to find"),
        ({"all": "0.png 5\n1.png 6\n"}, {"eval": {"list": "all.txt"}}, "no query has anything to find"),
        ({"all": "0.png x\n"}, {"eval": {"list": "all.txt"}}, "expected a path, an identity"),
        ({"train": "0.png 0\n1.png 1\n"}, {"batch_size": 8}, "batches of 4 identities, but the list has 2"),
        ({"train": "0.png 0\n5.png 0\n1.png 7\n6.png 7\n"}, {"labels": 2}, "data.relabel: true"),
    ],
)  # fmt: skip
def test_lists_that_nothing_can_be_learnt_or_measured_of(
    tmp_path: Path, lists: dict[str, str], change: dict[str, Any], message: str
) -> None:
    tree = make_data(tmp_path / "images")
    tree["data"] |= change
    for name, text in lists.items():
        (tmp_path / "images" / f"{name}.txt").write_text(text, "utf-8")
    (tmp_path / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
    with pytest.raises((ConfigError, DataError), match=message):
        fit(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gap_in_the_ids_makes_a_larger_head_unless_they_are_numbered_anew(tmp_path: Path) -> None:
    tree = make_data(tmp_path / "images")
    (tmp_path / "images" / "train.txt").write_text("0.png 0\n5.png 0\n1.png 6\n6.png 6\n", "utf-8")
    recipe, _ = check_tree(tree)
    assert recipe is not None
    from tinysight.data.labels import resolve_labels

    assert resolve_labels(recipe).data.labels == 7
    tree["data"]["relabel"] = True
    recipe, _ = check_tree(tree)
    assert recipe is not None
    assert resolve_labels(recipe).data.labels == 2
