"""Bundles that lie: judged at once, by Python and by the C++ command alike, and never read beyond their folder."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.bundles import SIDE, tiny_bundle, tiny_detector, tiny_manifest, tiny_onnx
from support.commands import environment
from support.cpp import run_cpp
from support.nasty import by_pillow, cloud
from tinysight.bundle import MANIFEST, MODEL, Bundle
from tinysight.bundle.manifest import EngineVariant
from tinysight.bundle.sealed import digest
from tinysight.engines import OnnxNetwork, get_engine, onnx_engines
from tinysight.errors import BundleError, ConfigError, TinysightError
from tinysight.files import sha256
from tinysight.pipelines.pipeline import Classifier, open_bundle

SEED = 7
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 1e308, -0.0, 0.5, 2**31, 99999999, 2**64, 10**400, "", "nearest", "pillow",
    "cv2", "x", [], {}, [1], {"name": "topk"}, "float32", 1.0, 4096, 100000, "\ud800", "é", [8, 8], [None, 3, 8, 8],
    [0.0, 0.0, 0.0], [1, 2], [True], "../x", 8.0, -8,
]  # fmt: skip
SPECS: list[dict[str, Any]] = [
    {"name": "center_crop", "size": 4}, {"name": "center_square", "size": 8}, {"name": "append_channels"},
    {"name": "cast"}, {"name": "resize", "short": 8}, {"name": "resize", "size": 8, "interpolation": "area"},
    {"name": "resize", "size": 8, "backend": "pillow"}, {"name": "normalize"}, {"name": "random_flip"},
]  # fmt: skip
POSTS: list[dict[str, Any]] = [
    {"name": "topk", "k": 2}, {"name": "scores"}, {"name": "multilabel", "threshold": 0.5}, {"name": "embedding"},
    {"name": "binarize"}, {"name": "threshold", "threshold": 0.5}, {"name": "topk", "k": 5, "decimals": 3},
    {"name": "boxes", "threshold": 0.5}, {"name": "person_attribute"},
]  # fmt: skip
KEYS = ("size", "k", "zzz", "threshold", "decimals", "mode", "short", "interpolation")


def seal(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest and seal it again, as whoever can write the folder may."""
    tree = json.loads((folder / MANIFEST).read_text("utf-8"))
    change(tree)
    tree["digest"] = digest({k: v for k, v in tree.items() if k != "digest"}, "")
    (folder / MANIFEST).write_text(json.dumps(tree), "utf-8")
    return folder


def image(folder: Path) -> Path:
    path = folder / "a.png"
    path.write_bytes(by_pillow("PNG", cloud(20, 30)))
    return path


def by_python(bundle: Path, path: Path) -> tuple[int, str]:
    """Exit code and message of a prediction."""
    try:
        rows = [item.to_json() for item in open_bundle(bundle, workers=1).stream(str(path))]
    except TinysightError as error:
        return 2, str(error)
    return int("error" in rows[0]), str(rows[0])


def places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in pairs:
        yield (*above, key)
        yield from places(value, (*above, key))


def damage(tree: dict[str, Any], draw: random.Random) -> None:
    """Change a value, take one away, add one; or other transforms, another post-processor."""
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        *above, last = draw.choice(list(places(tree)))
        owner: Any = tree
        for key in above:
            owner = owner[key]
        match draw.randrange(8):
            case 0 | 1 | 2 | 3:
                owner[last] = copy.deepcopy(draw.choice(VALUES))
            case 4:
                del owner[last]
            case 5 if isinstance(owner, dict):
                owner[draw.choice(KEYS)] = copy.deepcopy(draw.choice(VALUES))
            case 6 if isinstance(tree.get("transforms"), list):
                tree["transforms"].insert(draw.randrange(3), copy.deepcopy(draw.choice(SPECS)))
            case _:
                tree |= {"postprocess": copy.deepcopy(draw.choice(POSTS)), "threshold": None}


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_resealed_manifests_are_judged_alike(count: int, tmp_path: Path) -> None:
    path = image(tmp_path)
    whole = tiny_bundle(tmp_path / "whole").folder
    for i in range(count):
        draw = random.Random(f"{SEED} {i}")
        folder = tmp_path / "b"
        shutil.copytree(whole, folder)
        seal(folder, lambda tree, draw=draw: damage(tree, draw))  # type: ignore[misc]
        code, message = by_python(folder, path)
        ran = run_cpp("predict", path, "--model", folder, "--json")
        if "this program" not in ran.errors:  # it says what it does not have
            assert ran.code == code, f"seed {SEED}, bundle {i}: {message}\n{ran.errors}"
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"transforms": [{"name": "pad", "border": 10**8}]}, "transforms.0.pad"),
        ({"transforms": [{"name": "pad", "multiple": 10**9}]}, "transforms.0.pad"),
        ({"transforms": [{"name": "append_channels", "channels": 10**6}]}, "append_channels.channels"),
        ({"transforms": [{"name": "resize", "size": [50000, 50000]}]}, "transforms.0"),
        ({"transforms": [{"name": "resize", "short": 50000}]}, "transforms.0"),
        ({"transforms": [{"name": "center_square", "size": 50000}]}, "transforms.0"),
        ({"transforms": [{"name": "normalize", "mean": ["x", 0, 0]}]}, "normalize.mean"),
        ({"transforms": [{"name": "random_flip"}]}, "random"),
        ({"postprocess": {"name": "topk", "k": "x"}, "threshold": None}, "topk.k"),
        ({"postprocess": {"name": "scores", "decimals": 2**31}, "threshold": None}, "scores.decimals"),
        ({"metrics": {"top1": 10**400}}, "metrics.top1"),
    ],
)  # fmt: skip
def test_what_a_manifest_asks_for_is_bounded(
    change: dict[str, Any], where: str, tmp_path: Path
) -> None:
    folder = seal(tiny_bundle(tmp_path / "b").folder, lambda tree: tree.update(change))
    code, message = by_python(folder, image(tmp_path))
    assert code == 2
    assert where in message
    assert run_cpp("predict", image(tmp_path), "--model", folder, sanitized=True).code == 2


def test_side_files_are_files(tmp_path: Path) -> None:
    """Pipes, links in a circle, names that are no text, depths without end."""
    path = image(tmp_path)
    entry = {"size": 0, "sha256": sha256(b"")}
    makes: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo, "circle": lambda p: p.symlink_to(p.name), "\ud800": lambda p: None,
    }  # fmt: skip
    for i, (name, make) in enumerate(makes.items()):
        folder = tiny_bundle(tmp_path / f"{i}").folder
        make(folder / name)
        seal(folder, lambda tree, name=name: tree["files"].update({name: entry}))  # type: ignore[misc]
        with pytest.raises(BundleError):
            Bundle.load(folder)
        assert run_cpp("predict", path, "--model", folder).code == 2
    bundle = tiny_bundle(tmp_path / "card")
    (bundle.folder / "latency.json").write_text("[" * 100_000)
    assert by_python(bundle.folder, path)[0] == 0
    (bundle.folder / "latency.json").unlink()
    os.mkfifo(bundle.folder / "latency.json")
    assert by_python(bundle.folder, path)[0] == 0
    (bundle.folder / MANIFEST).write_text("a: [" + "1, " * 1_000_000 + "]")
    assert by_python(bundle.folder, path)[0] == 2


def external(where: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2], data_location=1)
    for key, value in (("location", where), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_weights_of(tensor: onnx.TensorProto, how: str) -> bytes:
    """A network whose matrix is `tensor`: an initialiser, the value of a node, or in a branch of an `If`."""
    node, value = helper.make_node, helper.make_tensor_value_info
    nodes, kept = [], [tensor]
    if how != "initializer":
        kept, nodes = [], [node("Constant", [], ["w"], value=tensor)]
    if how == "branch":
        inner = helper.make_graph(nodes, "branch", [], [value("w", TensorProto.FLOAT, [3, 2])])
        yes = numpy_helper.from_array(np.array(True), "yes")
        kept, nodes = [yes], [node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner)]
    nodes += [
        node("GlobalAveragePool", ["images"], ["p"]), node("Flatten", ["p"], ["f"], axis=1),
        node("Gemm", ["f", "w"], ["scores"]),
    ]  # fmt: skip
    images = value("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    graph = helper.make_graph(
        nodes, "g", [images], [value("scores", TensorProto.FLOAT, ["N", 2])], kept
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("how", ["initializer", "constant", "branch"])
def test_weights_in_other_files_are_refused_whatever_the_engine(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for place in ("victim.bin", "sub/victim.bin", "../victim.bin"):
        np.full(6, 0.25, np.float32).tofile(place)
    path = image(tmp_path)
    for i, place in enumerate(
        ("victim.bin", "sub/victim.bin", "../victim.bin", str(tmp_path / "victim.bin"))
    ):
        model = with_weights_of(external(place), how)
        with pytest.raises(BundleError, match="its weights lie in another file"):
            Bundle.write(tmp_path / "w", tiny_manifest(), {MODEL: model})
        folder = tiny_bundle(tmp_path / f"{i}").folder
        (folder / MODEL).write_bytes(model)
        files = {MODEL: {"size": len(model), "sha256": sha256(model)}}
        seal(folder, lambda tree, files=files: tree.update(files=files))  # type: ignore[misc]
        for engine in onnx_engines():
            with pytest.raises(BundleError, match=r"model\.onnx: its weights lie in another file"):
                Classifier(folder, engine=engine)
        ran = run_cpp("predict", path, "--model", folder, sanitized=True)
        assert (ran.code, ran.out) == (2, "")
        assert "its weights lie in another file" in ran.errors
    words = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")  # a name is no place
    named = onnx.load_from_string(with_weights_of(words, how))
    named.metadata_props.add(key="location", value="victim.bin")
    bundle = Bundle.write(tmp_path / "m", tiny_manifest(), {MODEL: named.SerializeToString()})
    assert (
        by_python(bundle.folder, path)[0]
        == run_cpp("predict", path, "--model", bundle.folder).code
        == 0
    )


class Touch:
    """Made by pickle, it runs a command."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


def test_programs_of_torch_reach_no_file_and_run_no_pickle(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    marker = tmp_path / "was-here"

    class Reads(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))[:, :2] + torch.from_file("victim.bin", size=2)

    script = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `torch.jit` is old; its files are still about
        torch.jit.save(torch.jit.script(Reads()), script)
    network = OnnxNetwork(tiny_onnx(), (3, SIDE, SIDE))
    (program,) = get_engine("pt2").write(network, "fp32", "model").values()
    into = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as source, zipfile.ZipFile(into, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("sample_inputs/model.pt"):
                evil = io.BytesIO()
                torch.save(Touch(marker), evil)
                data = evil.getvalue()
            target.writestr(entry.filename, data)
    for engine, data in (
        ("torchscript", script.getvalue()),
        ("pt2", into.getvalue()),
        ("pt2", b"x"),
        ("torchscript", b""),
    ):
        name = f"model.{engine}"
        manifest = tiny_manifest(
            variants={engine: EngineVariant((name,), "fp32", 1, 0.0, 0.0, 0, None, {})}
        )
        Bundle.write(tmp_path / "b", manifest, {MODEL: tiny_onnx(), name: data}, overwrite=True)
        with pytest.raises(BundleError, match="torch cannot load it"):
            Classifier(tmp_path / "b", engine=engine)(np.zeros((9, 9, 3), np.uint8))
    assert not marker.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(value: float, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.full((3, 2), value, np.float32), "w")
    folder = Bundle.write(
        tmp_path / "b", tiny_manifest(), {MODEL: with_weights_of(weight, "initializer")}
    ).folder
    for engine in onnx_engines():
        with pytest.raises(BundleError, match="not finite"):
            Classifier(folder, engine=engine)(np.full((9, 9, 3), 200, np.uint8))
    ran = run_cpp("predict", image(tmp_path), "--model", folder, "--json", sanitized=True)
    assert (ran.code, ran.out) == (2, "")
    assert "not finite" in ran.errors
    detector = tiny_detector(tmp_path / "d")
    bright = onnx.load_from_string(detector.model)
    for constant in bright.graph.initializer:
        if constant.name == "box":
            constant.raw_data = np.full(4, value, np.float32).tobytes()
    Bundle.write(
        tmp_path / "d", detector.manifest, {MODEL: bright.SerializeToString()}, overwrite=True
    )
    with pytest.raises(BundleError, match="not finite"):
        open_bundle(tmp_path / "d")(np.full((9, 9, 3), 200, np.uint8))


PRINTING = """
import os, sys
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.registry import engines

@engines.register("noisy")
class Noisy(OnnxRuntime):
    def run(self, batch):
        os.write(1, b"an engine speaks\\n")
        return super().run(batch)
"""


def test_what_an_engine_prints_stays_out_of_the_results(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(PRINTING)
    folder = tiny_bundle(tmp_path / "b").folder
    words = [
        "predict",
        image(tmp_path),
        "--model",
        folder,
        "--json",
        "--engine",
        "noisy",
        "--plugin",
        "noisy.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tinysight", *map(str, words)], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert json.loads(done.stdout)["filename"]
    assert "an engine speaks" in done.stderr


@pytest.mark.parametrize(
    "options", [{"threads": 100_000}, {"workers": 100_000}, {"threads": 40, "workers": 40}]
)
def test_threads_without_number_are_refused_before_the_first(
    options: dict[str, int], tmp_path: Path
) -> None:
    folder = tiny_bundle(tmp_path / "b").folder
    with pytest.raises(ConfigError, match="should be 1024 or less"):
        Classifier(folder, **options)  # type: ignore[arg-type]
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    ran = run_cpp("predict", image(tmp_path), "--model", folder, *words)
    assert ran.code == 2
    assert "should be 1024 or less" in ran.errors


def scanned(pixels: int, scans: int) -> bytes:
    """A progressive grey JPEG whose last scan is there again and again."""
    whole = by_pillow("JPEG", cloud(pixels, pixels)[:, :, 0], progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * (scans - whole.count(b"\xff\xda")) + whole[-2:]


def test_the_scans_of_a_jpeg_are_bounded(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "b").folder
    path = tmp_path / "a.jpg"
    for data, code in (
        (scanned(1000, 800), 1),
        (by_pillow("JPEG", cloud(1200, 900), progressive=True), 0),
        (by_pillow("JPEG", cloud(1200, 900)), 0),
    ):
        path.write_bytes(data)
        found, message = by_python(folder, path)
        assert found == code, message
        ran = run_cpp("predict", path, "--model", folder, "--json")
        assert ran.code == code
        if code:
            assert "800 scans of 1000 x 1000 pixels are more than the limit of 700000000" in message
            assert ran.rows[0]["error"] in message
