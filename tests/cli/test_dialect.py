"""PaddleClas' configurations on the command line, by small ones of our own."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.golden import own_path
from support.paddleclas import make_images, write_deployed, write_training
from support.weights import to_reference
from tinysight.bundle import Bundle
from tinysight.cli import main
from tinysight.config import load_recipe
from tinysight.training.predictor import load_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, both configurations, a finished run and its export; no test may change them."""
    root = tmp_path_factory.mktemp("dialect")
    make_images(root / "images")
    write_training(root)
    write_deployed(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["train", "-c", "demo.yaml"]) == 0
        assert (
            main(["export", "-c", "demo.yaml", "-o", "Global.save_inference_dir=models/demo"]) == 0
        )
    return root


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(made)
    capfd.readouterr()
    return made


def answer(capfd: pytest.CaptureFixture[str]) -> list[list[dict[str, object]]]:
    return [ast.literal_eval(line) for line in capfd.readouterr().out.splitlines()]


def test_a_run_lies_where_the_documents_look_for_it(here: Path) -> None:
    run = here / "output" / "PPLCNet_x0_25"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "metrics" in line] == [2, 3]  # start_eval_epoch: 2
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.data.labels == ("dark", "bright")
    assert recipe.model.batch_norm_variance == "biased"


@pytest.mark.parametrize(
    "weights",
    [
        "output/best_model",
        "output/best_model.pdparams",
        "output/PPLCNet_x0_25/best_model",
        "./output/PPLCNet_x0_25/best_model.pdparams",
        "output/PPLCNet_x0_25",
        "output/PPLCNet_x0_25/checkpoints/best.safetensors",
    ],
)
def test_both_layouts_resolve(weights: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["eval", "-c", "demo.yaml", "-o", f"Global.pretrained_model={weights}", "--json"]) == 0
    )
    found = json.loads(capfd.readouterr().out)
    assert found["pictures"] == 4
    assert list(found["metrics"]) == ["tpr", "fpr", "threshold", "top1", "top2"]


def test_infer_prints_what_the_reference_prints(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "-c", "demo.yaml"]) == 0
    ((only,),) = answer(capfd)
    assert list(only) == ["class_ids", "scores", "label_names", "file_name"]
    assert only["file_name"] == "./images/0.png"
    (score,) = only["scores"]  # type: ignore[misc]
    assert score == float(str(np.float32(score)))
    assert only["label_names"] == [("dark", "bright")[only["class_ids"][0]]]  # type: ignore[index]


def test_infer_in_batches_to_a_file_by_another_rule(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers"
    words = [
        "-o",
        "Infer.infer_imgs=images",
        "-o",
        "Infer.batch_size=5",
        "-o",
        f"Infer.save_dir={out}",
    ]
    post = ["-o", "Infer.PostProcess={'name': 'Topk', 'topk': 2}"]
    assert main(["infer", "-c", "demo.yaml", *words, *post]) == 0
    batches = answer(capfd)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert json.loads((tmp_path / "answers.json").read_text("utf-8")) == sum(batches, [])
    assert all(len(one["class_ids"]) == 2 for one in batches[0])  # type: ignore[arg-type]
    assert list(batches[0][0]) == ["class_ids", "scores", "file_name", "label_names"]
    assert batches[0][0]["label_names"] == []


def test_infer_names_what_it_cannot_read(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("images/0.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert main(["infer", "-c", "demo.yaml", "-o", f"Infer.infer_imgs={tmp_path}"]) == 1
    shown = capfd.readouterr()
    assert "a.png" in shown.out
    assert "b.png: " in shown.err


def test_weights_of_the_reference_are_read(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same answers by our checkpoint and by its tensors in PaddleClas' file."""
    model, _ = load_model("output/PPLCNet_x0_25")
    content = {**to_reference(model), "StructuredToParameterName@@": {}}
    (tmp_path / "theirs.pdparams").write_bytes(pickle.dumps(content, protocol=4))
    answers = []
    for weights in ("output/best_model", str(tmp_path / "theirs")):
        assert main(["infer", "-c", "demo.yaml", "-o", f"Global.pretrained_model={weights}"]) == 0
        answers.append(answer(capfd))
    assert answers[0] == answers[1]


def test_a_run_begins_with_weights_of_other_classes(here: Path, tmp_path: Path) -> None:
    words = [
        "-o",
        "Global.pretrained_model=output/best_model",
        "-o",
        f"Global.output_dir={tmp_path}",
        "-o",
        "Global.epochs=1",
    ]
    assert main(["train", "-c", "demo.yaml", *words]) == 0
    same = load_recipe(tmp_path / "PPLCNet_x0_25" / "recipe.yaml").model
    assert same.skip == ()
    assert str(same.pretrained).endswith("best.safetensors")
    more = ["-o", "Arch.class_num=3", "-o", f"Global.output_dir={tmp_path / 'three'}"]
    assert main(["train", "-c", "demo.yaml", *words, *more]) == 0
    assert load_recipe(tmp_path / "three" / "PPLCNet_x0_25" / "recipe.yaml").model.skip == (
        "classifier",
    )


def test_a_run_goes_on(here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("output", tmp_path / "output")
    words = ["-o", f"Global.checkpoints={tmp_path}/output/PPLCNet_x0_25/latest"]
    assert main(["train", "-c", "demo.yaml", *words]) == 0
    assert "best epoch" in capfd.readouterr().out
    assert main(["train", "-c", "demo.yaml"]) == 2  # never overwritten
    assert "already holds a run" in capfd.readouterr().err


EVAL, TRAIN = (f"{verb} -c demo.yaml -o".split() for verb in ("eval", "train"))
PREDICT = ["predict", "-c", "deploy.yaml", "-o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*EVAL, "Global.pretrained_model=output/none/best_model"], "there is output/PPLCNet_x0_25/best_model"),
        ([*EVAL, "Global.pretrained_model=output/epoch_7"], "no such weights; looked for output/epoch_7,"),
        ([*TRAIN, "Global.checkpoints=nowhere/latest"], "Global.checkpoints: no such weights"),
        ([*TRAIN, "Arch.pretrained=a/b"], "Arch.pretrained: no such weights; looked for a/b"),
        (["export", "-c", "demo.yaml", "-o", "Global.save_inference_dir=models/demo"], "a bundle already exists here"),
        (["export"], "--run: is missing; or give a PaddleClas configuration with -c"),
        (["eval", "-c", "pulc/clarity_assessment"], "is a recipe, which names no weights"),
        (["infer", "-c", "demo.yaml", "-o", "Infer.infer_imgs=None"], "Infer.infer_imgs: which images?"),
        (["infer", "-c", "demo.yaml", "-o", "Arch.class_num=7", "-o", "Global.output_dir=new"], "no trained weights"),
        (["predict", "-c", "demo.yaml"], "a training configuration, which has no exported network"),
        (["predict", "-o", "a=b", "x.png"], "-o: there is no configuration to change"),
        ([*PREDICT[:-1], "--model", "clarity_assessment"], "-c names the network"),
        ([*PREDICT, "Global.inference_model_dir=./models/safety_helmet_infer"], "models fetch safety_helmet"),
        ([*PREDICT, "Global.inference_model_dir=none"], "no such folder; export a network to it first"),
        ([*PREDICT, "Global.bath_size=3"], "did you mean 'batch_size'?"),
        (["recipe", "convert", "pulc/clarity_assessment"], "is no PaddleClas configuration"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(
    words: list[str], message: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capfd.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_the_export_is_used_by_a_deploy_configuration(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert Bundle.load("models/demo").manifest.labels == ("dark", "bright")
    assert main(["infer", "-c", "demo.yaml", "-o", "Infer.infer_imgs=images"]) == 0
    by_infer = {one["file_name"]: one for one in sum(answer(capfd), [])}
    assert main([*PREDICT, "Global.infer_imgs=images"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(by_infer) == 12
    for line in lines:
        name, _, rest = line.partition(":\t")
        one = by_infer[f"images/{name}"]
        (score,) = one["scores"]  # type: ignore[misc]
        assert rest == (
            f"class id(s): {one['class_ids']}, score(s): [{score:.2f}], "
            f"label_name(s): {one['label_names']}"
        )


def test_the_threshold_of_the_documents_is_understood(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for key in ("Infer.PostProcess.threshold", "PostProcess.ThreshOutput.threshold"):
        for threshold, label in ((0.0, "bright"), (1.0, "dark")):
            assert main([*PREDICT, f"{key}={threshold}"]) == 0
            assert label in capfd.readouterr().out


def test_an_export_of_the_reference_is_translated_once(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    folder = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
    words = [
        "-o",
        f"Global.inference_model_dir={folder}",
        "-o",
        "PreProcess.transform_ops.1.CropImage.size=224",
    ]
    words += ["-o", "PreProcess.transform_ops.0.ResizeImage.resize_short=256"]
    for _ in range(2):
        assert main(["predict", "-c", "deploy.yaml", *words]) == 0
        assert (
            "label_name(s): ['dark']" in (shown := capfd.readouterr().out) or "['bright']" in shown
        )
    assert len(list((tmp_path / "cache" / "bundles").glob("*/bundle.yaml"))) == 1


def test_convert_writes_a_recipe_that_reads_back(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "native.yaml"
    words = ["-o", "Global.epochs=7", "-o", "Optimizer.clip_grad=5.0"]
    assert main(["recipe", "convert", "demo.yaml", *words, "--out", str(out)]) == 0
    first, second, *_ = out.read_text("utf-8").splitlines()
    assert (
        first
        == "# From the PaddleClas configuration demo.yaml -o Global.epochs=7 -o Optimizer.clip_grad=5.0"
    )
    assert second.startswith("# Optimizer.clip_grad: PaddleClas passes it over")
    assert main(["recipe", "diff", str(out), "demo.yaml"]) == 1
    assert capfd.readouterr().out.splitlines()[0] == "train.epochs: 7 -> 3"
    assert load_recipe(out) == load_recipe(
        here / "demo.yaml", ["Global.epochs=7", "Optimizer.clip_grad=5.0"]
    )


@pytest.mark.slow
def test_several_labels_a_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From list files with tabs to a bundle whose labels have a probability each."""
    monkeypatch.chdir(tmp_path)
    for path in sorted(make_images(tmp_path / "images").glob("*_list.txt")):
        fields = [line.split() for line in path.read_text("utf-8").splitlines()]
        rows = [f"{f[0]}\t{f[1]},{1 - int(f[1])},{i % 2}" for i, f in enumerate(fields) if f[1:]]
        path.write_text("\n".join(rows), "utf-8")
    loss = "MultiLabelLoss: {weight: 1.0, size_sum: True, weight_ratio: True}"
    write_training(
        tmp_path,
        ("name: ImageNetDataset", "name: MultiLabelDataset"),
        ("name: ImageNetDataset", "name: MultiLabelDataset"),
        ("&classes 2", "3"),
        ("CELoss: {weight: 1.0, epsilon: 0.1}", loss),
        ("- TprAtFpr: {max_fpr: 0.5}\n    - TopkAcc: {topk: [1, 2]}", "- ATTRMetric:\n    - MultiLabelMAP:"),
        ("ThreshOutput, threshold: 0.5, label_0: dark, label_1: bright", "MultiLabelThreshOutput"),
    )  # fmt: skip
    assert main(["train", "-c", "demo.yaml", "-o", "Optimizer.lr.learning_rate=1e-4"]) == 0
    assert "compares probabilities" in capfd.readouterr().err
    assert main(["eval", "-c", "demo.yaml"]) == 0
    assert capfd.readouterr().out.startswith("mA ")
    assert main(["infer", "-c", "demo.yaml", "-o", "Infer.PostProcess.threshold=0.0"]) == 0
    ((only,),) = answer(capfd)
    assert only["class_ids"] == [0, 1, 2]
    assert abs(sum(only["scores"]) - 1) > 0.01  # type: ignore[arg-type]
    assert main(["export", "-c", "demo.yaml"]) == 0
    assert Bundle.load("inference").manifest.postprocess["name"] == "multilabel"


def test_the_rate_of_several_cards_is_told(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-c", "demo.yaml", "-o", "Global.epochs=1", "-o"]
    said = "0.05 is used as it is; published rates are for 4 cards, here is 1"
    assert main([*words, f"Global.output_dir={tmp_path / 'a'}"]) == 0
    assert said in capfd.readouterr().err
    assert (
        main(
            [*words, f"Global.output_dir={tmp_path / 'b'}", "-o", "Optimizer.lr.learning_rate=0.01"]
        )
        == 0
    )
    assert "published rates" not in capfd.readouterr().err


def test_a_tree_of_configurations_is_counted_by_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more").mkdir()
    write_training(tmp_path)
    write_training(tmp_path / "more")
    for name, network in (("a", "PVT_V2_B2"), ("b", "PVT_V2_B5")):
        write_training(tmp_path / "more", ("PPLCNet_x0_25", network), name=f"{name}.yml")
    write_training(tmp_path, ("epochs: 3", "epohcs: 3"), name="c.yaml")
    write_deployed(tmp_path)
    assert main(["recipe", "check", str(tmp_path)]) == 1
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "6 files, 2 load"
    counts = {line[8:]: int(line[:6]) for line in out[1:]}
    assert sum("is no network of ours" in reason for reason in counts) in (1, 2)
    assert counts["a deploy configuration, which trains nothing"] == 1
    assert counts["unknown key"] == 1
    (tmp_path / "empty").mkdir()
    assert main(["recipe", "check", str(tmp_path / "empty")]) == 2


def test_a_folder_of_paddleclas_is_a_model(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Imported by `predict --model`; other verbs name the import; an ONNX file of paddle2onnx will do, too."""
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    folder = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
    assert main(["predict", "--model", str(folder), "images/0.png"]) == 0
    plain = capfd.readouterr().out
    assert main(["bench", str(folder)]) == 2
    assert (
        f"`tinysight models import {folder} --out BUNDLE` makes one of it" in capfd.readouterr().err
    )
    onnx = tmp_path / "onnx"
    onnx.mkdir()
    assert main(["models", "import", str(folder), "--out", str(onnx / "inference.onnx")]) == 0
    capfd.readouterr()
    assert main(["predict", "--model", str(onnx), "images/0.png"]) == 0
    assert capfd.readouterr().out == plain
    words = ["-o", f"Global.inference_model_dir={onnx}", "-o", "Global.use_onnx=True"]
    words += ["-o", "PreProcess.transform_ops.1.CropImage.size=224"]
    words += ["-o", "PreProcess.transform_ops.0.ResizeImage.resize_short=256"]
    assert main(["predict", "-c", "deploy.yaml", *words]) == 0
    assert "label_name(s)" in capfd.readouterr().out
    (tmp_path / "names.txt").write_text("".join(f"{i} n{i}\n" for i in range(1000)))
    words += [
        "-o",
        f"PostProcess={{'Topk': {{'topk': 1, 'class_id_map_file': '{tmp_path / 'names.txt'}'}}}}",
    ]
    assert main(["predict", "-c", "deploy.yaml", *words]) == 2
    said = capfd.readouterr().err
    assert "1000 labels for 2 classes" in said
    assert "class_id_map_file" in said


def test_a_mistake_is_told_by_the_first_process_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-c", "demo.yaml", "-o", "Global.epohcs=1"]
    for rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert main(words) == 2
        assert ("unknown key" in capfd.readouterr().err) == said
