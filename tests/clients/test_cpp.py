"""The C++ command against Python: the same bundles, files and folders, the same answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.bundles import tiny_bundle, tiny_manifest, tiny_onnx
from support.cpp import run_cpp
from support.nasty import by_pillow, cloud, edge_case_files
from tinysight.bundle import MODEL, SHIPPED, Bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.errors import TinysightError
from tinysight.pipelines.pipeline import Classifier
from tinysight.tasks.results import Result, result_from_json
from tinysight.transforms.base import EXTENSIONS

REPO = Path(__file__).resolve().parents[2]

CLARITY = SHIPPED / "clarity_assessment"
NUMBER = re.compile(r"\d+\.\d+")
SIZES = ((300, 200), (31, 47), (640, 480), (1, 1))


def by_python(source: Path | str, bundle: Path, **options: Any) -> list[dict[str, Any]]:
    """What `tinysight predict --json` prints."""
    return [item.to_json() for item in Classifier(bundle, **options).stream(str(source))]


def text(row: dict[str, Any]) -> str:
    """The line that `tinysight predict` prints."""
    result = result_from_json(row)
    assert isinstance(result, Result)
    return result.to_text()


def difference(one: Any, other: Any) -> float:
    """The largest between numbers with a point; 9 where anything else differs."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    if isinstance(one, str) and isinstance(other, str):  # one with a probability in it, perhaps
        if NUMBER.sub("", one) != NUMBER.sub("", other):
            return 9
        return difference(*([float(n) for n in NUMBER.findall(text)] for text in (one, other)))
    if isinstance(one, dict) and isinstance(other, dict):
        return difference(list(one), list(other)) or difference(
            list(one.values()), list(other.values())
        )
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(difference, one, other), default=0)
    return 0 if one == other else 9


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nasty")
    for name, data in edge_case_files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Four images."""
    folder = tmp_path / "few"
    folder.mkdir()
    for i, size in enumerate(SIZES):
        (folder / f"{i}.png").write_bytes(by_pillow("PNG", cloud(*size, i)))
    return folder


@pytest.mark.parametrize("sanitized", [False, True])
def test_nasty_files(nasty: Path, sanitized: bool) -> None:
    ran = run_cpp("predict", nasty, "--model", CLARITY, "--json", sanitized=sanitized)
    expected = by_python(nasty, CLARITY)
    assert len(expected) >= 300
    for row, other in zip(ran.rows, expected, strict=True):
        assert difference(row, other) < 1e-4, (row, other)
    broken = [f"{row['filename']}: {row['error']}" for row in expected if "error" in row]
    total = f"{len(broken)} of {len(expected)} images could not be read"
    assert ran.errors.splitlines() == [*broken, total]
    assert ran.code == 1


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "area", "bicubic", "lanczos", "box", "hamming"]
)
@pytest.mark.parametrize("first", [{"short": 97}, {"size": [130, 101]}])
def test_resize(
    few: Path, tmp_path: Path, backend: str, interpolation: str, first: dict[str, Any]
) -> None:
    if interpolation in (("box", "hamming") if backend == "cv2" else ("area",)):
        return
    specs = [
        {"name": "resize", **first, "interpolation": interpolation, "backend": backend},
        {"name": "center_crop", "size": [96, 90]},
        {"name": "resize", "size": 224, "interpolation": "nearest"},
        {"name": "normalize", "mean": [0.5], "std": [0.2, 0.3, 0.4], "scale": 0.004},
    ]
    shipped = Bundle.load(CLARITY)
    manifest = shipped.manifest._replace(transforms=tuple(specs))
    Bundle.write(tmp_path / "b", manifest, {MODEL: shipped.model})
    rows = run_cpp("predict", few, "--model", tmp_path / "b", "--json").rows
    # Where this one lies halfway between two levels, OpenCV's releases round differently.
    limit = 1e-3 if (backend, interpolation) == ("cv2", "bicubic") else 1e-4
    assert difference(rows, by_python(few, tmp_path / "b")) < limit


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "topk", "k": 3, "decimals": 7},
        {"name": "threshold", "threshold": 0.3, "default": "l5"},
        {"name": "threshold", "threshold": 0},
        {"name": "multilabel", "threshold": 0.04},
        {"name": "scores"},
        {"name": "binarize"},
        {"name": "binarize", "method": "sign"},
        {"name": "person_attribute", "threshold": 0.05, "glasses_threshold": 0.2},
        {"name": "person_attribute", "hold_threshold": 0.01, "output_threshold": 0.02},
        {"name": "vehicle_attribute", "color_threshold": 0.1},
        {"name": "table_attribute", "number_threshold": 0.9, "number_decides": True},
        {"name": "face_attribute", "threshold": 0.02, "chinese": True},
    ],
)
def test_postprocess(few: Path, tmp_path: Path, spec: dict[str, Any]) -> None:
    outputs = {"person": 26, "vehicle": 19, "table": 6, "face": 40, "binarize": 16}
    classes = outputs.get(spec["name"].split("_")[0], 7)
    labels = tuple(f"l{i}" for i in range(classes))
    bundle = tiny_bundle(tmp_path / "b", labels=labels, postprocess=spec, threshold=None).folder
    ran = run_cpp("predict", few, "--model", bundle, "--json")
    assert ran.code == 0
    assert difference(ran.rows, by_python(few, bundle)) < 1e-4
    if spec["name"] == "binarize":
        assert run_cpp("predict", few, "--model", bundle, "--topk", "1").code == 2


@pytest.mark.parametrize("normalize", [True, False])
def test_embedding(few: Path, tmp_path: Path, normalize: bool) -> None:
    spec = {"name": "embedding", "normalize": normalize}
    manifest = tiny_manifest(labels=(), postprocess=spec, threshold=None)
    Bundle.write(tmp_path / "b", manifest, {MODEL: tiny_onnx(5)})
    rows = run_cpp("predict", few, "--model", tmp_path / "b", "--json").rows
    assert difference(rows, by_python(few, tmp_path / "b")) < 1e-4
    lines = run_cpp("predict", few, "--model", tmp_path / "b").out
    assert lines.splitlines() == [text(row) for row in rows]
    assert run_cpp("predict", few, "--model", tmp_path / "b", "--topk", "1").code == 2


def test_center_square_and_more_channels(few: Path, tmp_path: Path) -> None:
    specs = (
        {"name": "center_square", "size": 8, "share": 0.71},
        {"name": "cast"},
        {"name": "normalize", "scale": 0.004},
        {"name": "append_channels", "channels": 3},
    )
    Bundle.write(tmp_path / "b", tiny_manifest(transforms=specs), {MODEL: tiny_onnx()})
    rows = run_cpp("predict", few, "--model", tmp_path / "b", "--json").rows
    assert difference(rows, by_python(few, tmp_path / "b")) < 1e-4


@pytest.mark.parametrize("options", [{"topk": 1}, {"topk": 9}, {"threshold": 0.9}])
def test_other_answers(few: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    ((name, value),) = options.items()
    rows = run_cpp("predict", few, "--model", bundle, "--json", f"--{name}", str(value)).rows
    assert difference(rows, by_python(few, bundle, **options)) < 1e-4


def test_text_is_written_as_python_writes_it(tmp_path: Path) -> None:
    labels = ("it's", 'a "b"', "早\n", "\x1b\u2028\\", "", "é😀", "both ' and \"")
    spec = {"name": "topk", "k": 7, "decimals": 17}
    bundle = tiny_bundle(tmp_path / "b", labels=labels, postprocess=spec, threshold=None).folder
    folder = tmp_path / "Fotos vom Höhepunkt 照片"
    folder.mkdir()
    names = ["照片 1.png", b"\xff\xfe.png".decode("utf-8", "surrogateescape"), "a'b.PNG"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(by_pillow("PNG", cloud(20, 30, i)))
    ran = run_cpp(folder, "--bundle", bundle, "--json")
    assert sorted(Path(row["filename"]).name for row in ran.rows) == sorted(names)
    assert [json.dumps(row) for row in ran.rows] == ran.out.splitlines()
    lines = run_cpp("predict", folder, "--model", bundle).out
    assert lines.splitlines() == [text(row) for row in ran.rows]


def test_what_an_image_of_a_folder_is() -> None:
    """Both walk folders by the same suffixes."""
    source = (REPO / "clients" / "cpp" / "src" / "sources.cpp").read_text("utf-8")
    table = re.search(r"kExtensions\{([^}]*)\}", source)
    assert table
    assert set(re.findall(r'"(\.\w+)"', table[1])) == set(EXTENSIONS)


def test_order_of_a_folder(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    image = by_pillow("PNG", cloud(8, 8))
    names = [
        *("a10.jpg", "a9.jpg", "A1.JPG", "a.jpg", "a01.jpg", "É.png", "é1.png", "ж.bmp", "Ж2.webp"),
        *(
            "sub10/x.png",
            "sub9/x.png",
            "sub10/a/b/y.png",
            ".hidden/x.png",
            ".x.png",
            "notes.md",
            "z.TIFF",
            "b c.png",
        ),
        *("folder.png/inside.png", "0000.png", "00.png", "x123456789012.png", "x99999999999.png"),
    ]
    folder = tmp_path / "images"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
    (folder / "sub9" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "list.txt").write_text(
        "\ufeffimages/a.jpg 1\n\n./images//b c.png\tlabel\nimages/b c.png\nnone.png 0\n",
        "utf-8",
    )
    sources = [
        "images",
        "images/",
        "list.txt",
        "images/*.jpg",
        "images/sub1*/**/*.png",
        "images/[az]*",
    ]
    for source in sources:
        where = f"{tmp_path}/{source}"
        ran = run_cpp("predict", where, "--model", bundle, "--json", "--workers", "5")
        found = [row["filename"] for row in ran.rows]
        assert found == [row["filename"] for row in by_python(where, bundle)]
        assert found


@pytest.mark.parametrize("source", ["empty", "none.jpg", "*.none", "http://x/a.jpg", "empty.txt"])
def test_nothing_to_answer(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty.txt").write_text("\n")
    bundle = tiny_bundle(tmp_path / "b").folder
    where = source if ":" in source else str(tmp_path / source)
    with pytest.raises(TinysightError) as error:
        by_python(where, bundle)
    ran = run_cpp("predict", where, "--model", bundle)
    assert (ran.code, ran.out, ran.errors) == (2, "", f"error: {error.value}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["--topk", "0"],
        ["--topk", "x"],
        ["--topk", "1", "--threshold", "0.5"],
        ["--threshold", "2"],
        ["--workers", "0"],
        ["--threads"],
        ["--json=yes"],
    ],
)
def test_wrong_arguments(few: Path, tmp_path: Path, words: list[str]) -> None:
    ran = run_cpp("predict", few, "--model", tiny_bundle(tmp_path / "b").folder, *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.errors.startswith("error: ")


def test_lists_that_were_joined_or_quoted(few: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    names = sorted(str(p) for p in few.iterdir())[:3]
    listed = tmp_path / "list.txt"
    text = f"\ufeff{names[0]} 0\n\n\ufeff{names[1]}, 1\n \ufeff{names[2]}; 0\n"
    listed.write_text(text, "utf-8")
    found = [
        row["filename"] for row in run_cpp("predict", listed, "--model", bundle, "--json").rows
    ]
    assert found == [row["filename"] for row in by_python(listed, bundle)] == names
    listed.write_text(f"{names[0]}\n'{names[1]}' 1\n", "utf-8")
    with pytest.raises(TinysightError, match="list.txt:2: quotes around the path") as error:
        by_python(listed, bundle)
    ran = run_cpp("predict", listed, "--model", bundle)
    assert (ran.code, ran.errors) == (2, f"error: {error.value}\n")


def test_bench_has_every_part(few: Path) -> None:
    ran = run_cpp("predict", few, "--model", CLARITY, "--bench", "--seconds", "0", "--json")
    (row,) = ran.rows
    assert list(row["one"]) == ["decode", "preprocess", "network", "postprocess", "total"]
    assert all(0 <= part["p50"] <= part["p90"] <= part["p99"] for part in row["one"].values())
    assert row["many"]["ms"] > 0
    assert row["pictures"] == len(SIZES)


def test_reduced_decoding(tmp_path: Path) -> None:
    """Where the bundle allows it, and not with `--exact`."""
    shipped = Bundle.load(CLARITY)
    source = tmp_path / "a.jpg"
    source.write_bytes(by_pillow("JPEG", cloud(1400, 1100), exif=b""))
    reduced = ReducedDecode(1.5, images=1000, label_flips=0, max_score_difference=0.1)
    manifest = shipped.manifest._replace(decode=reduced)
    Bundle.write(tmp_path / "b", manifest, {MODEL: shipped.model})
    answers = {}
    for exact in (False, True):
        words = ["--exact"] if exact else []
        rows = run_cpp(source, "--model", tmp_path / "b", "--json", *words).rows
        assert difference(rows, by_python(source, tmp_path / "b", exact=exact)) < 1e-4
        answers[exact] = rows[0]["scores"]
    assert answers[True] != answers[False]


def test_transform_that_only_python_has(few: Path, tmp_path: Path) -> None:
    manifest = tiny_manifest(transforms=({"name": "random_flip"},))
    Bundle.write(tmp_path / "b", manifest, {MODEL: tiny_onnx()})
    ran = run_cpp("predict", few, "--model", tmp_path / "b")
    assert ran.code == 2
    assert "transforms.0: this program has no transform 'randomflip'" in ran.errors
