"""Weight files of every format into our networks: same logits as where they come from, or an error that lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

from support.file_server import FileServer, Page
from support.golden import own_path, read_json, synth_input
from support.tiny import make_images, tiny_recipe
from tinysight.errors import CheckpointError, ConfigError, FetchError, TinysightError, WeightsError
from tinysight.graph.weights import read_onnx_weights
from tinysight.models import Backbone, create_model
from tinysight.training import fit
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.import_weights import KEY, import_weights
from tinysight.training.networks import initial_model
from tinysight.training.pretrained import find_pretrained, load_pretrained

PADDLE = own_path("pdparams", "PPLCNet_x0_25_cls2.pdparams")


def network(num_classes: int = 2, seed: int = 0) -> Backbone:
    """With statistics that differ by channel, so that a batch norm out of place shows."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = create_model("pplcnet_x0_25", num_classes=num_classes)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.2
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + low)
    return model.eval()


def logits(model: Backbone) -> np.ndarray:
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(synth_input(2, 64, 64))).numpy()


@pytest.mark.golden
def test_a_pdparams_file_gives_the_recorded_logits() -> None:
    model = network()
    load_pretrained(model, PADDLE)
    info = read_json("pdparams", "info.json")["PPLCNet_x0_25_cls2.pdparams"]
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(synth_input(2))).numpy()
    np.testing.assert_allclose(found, info["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["zip", "old", "wrapped", "parallel", "prefixed"])
def test_torch_files(form: str, tmp_path: Path) -> None:
    there, here = network(seed=1), network(seed=2)
    state: Any = there.state_dict()
    if form in ("parallel", "prefixed"):
        lead = "module." if form == "parallel" else "backbone."
        state = {lead + k: v for k, v in state.items()}
    if form == "prefixed":
        state["head.weight"] = torch.ones(1)
    if form == "wrapped":
        state = {"epoch": 3, "state_dict": state}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=form != "old")
    load_pretrained(here, tmp_path / "w.pth", prefix="backbone." if form == "prefixed" else "")
    assert np.array_equal(logits(here), logits(there))


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_executes_nothing(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"w\.pth: no PyTorch file of plain tensors"):
        load_pretrained(network(), Path("w.pth"))
    assert not Path("canary").exists()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("form", ["pth", "onnx", "safetensors"])
def test_a_truncated_file_is_refused(form: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"w.{form}"
    if form == "pth":
        torch.save(network().state_dict(), path)
    elif form == "onnx":
        path.write_bytes(unfused(network()))
    else:
        source = tmp_path / "w.pth"
        torch.save(network().state_dict(), source)
        import_weights(source, "pplcnet_x0_25", path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TinysightError):
        load_pretrained(network(), path)


def unfused(model: Backbone) -> bytes:
    """`model` as a released PULC network is: batch norms apart, biases as additions, dropout as a factor."""
    nodes: list[Any] = []
    constants: list[Any] = []
    modules = dict(model.named_modules())

    def constant(value: np.ndarray) -> str:
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(value, name))
        return name

    def emit(op: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def conv(x: str, m: Any) -> str:
        y = emit("Conv", x, constant(m.weight.detach().numpy()), group=m.groups,
                 strides=list(m.stride), pads=[*m.padding, *m.padding])  # fmt: skip
        if m.bias is None:
            return y
        return emit(
            "Add", y, emit("Identity", constant(m.bias.detach().numpy().reshape(1, -1, 1, 1)))
        )

    def block(x: str, m: Any) -> str:
        x = conv(x, m.conv)
        values = (m.bn.weight.detach(), m.bn.bias.detach(), m.bn.running_mean, m.bn.running_var)
        x = emit("BatchNormalization", x, *(constant(v.numpy()) for v in values), epsilon=1e-5)
        return emit("HardSwish", x)

    x = "images"
    for name in model.trunk:
        for part in [modules[name]] if name == "conv1" else modules[name]:
            if name == "conv1":
                x = block(x, part)
                continue
            x = block(x, part.dw_conv)
            if hasattr(part, "se") and hasattr(part.se, "conv1"):
                gate = emit("Relu", conv(emit("GlobalAveragePool", x), part.se.conv1))
                gate = emit("HardSigmoid", conv(gate, part.se.conv2), alpha=1 / 6, beta=0.5)
                x = emit("Mul", x, gate)
            x = block(x, part.pw_conv)
    x = emit("HardSwish", conv(emit("GlobalAveragePool", x), model.last_conv))
    x = emit("Flatten", emit("Mul", x, constant(np.float32([0.8]))), axis=1)
    x = emit("MatMul", x, constant(model.fc.weight.detach().numpy().T.copy()))
    emit("Softmax", emit("Add", x, constant(model.fc.bias.detach().numpy())), axis=1)
    nodes[-1].output[0] = "scores"
    graph = helper.make_graph(
        nodes, "pulc",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(model.fc.weight)])],
        constants,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def test_an_onnx_file_with_its_batch_norms(tmp_path: Path) -> None:
    there, here = network(4, seed=1), network(4, seed=2)
    (tmp_path / "w.onnx").write_bytes(unfused(there))
    file = read_onnx_weights(tmp_path / "w.onnx")
    assert [layer.kind for layer in file.layers].count("norm") == 27
    assert not file.left_over
    load_pretrained(here, tmp_path / "w.onnx")
    assert np.array_equal(logits(here), logits(there))
    other = network(3, seed=2)
    load_pretrained(other, tmp_path / "w.onnx", skip=["classifier"])
    assert torch.equal(other.conv1.bn.running_var, there.conv1.bn.running_var)


def test_an_onnx_file_of_another_network_or_order(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    there = network(seed=1)
    path.write_bytes(unfused(there))
    with pytest.raises(CheckpointError, match="of another shape"):
        load_pretrained(create_model("pplcnet_x0_5", num_classes=2), path)
    with pytest.raises(CheckpointError, match="32 conv layers in the file, 54 in the network"):
        load_pretrained(create_model("mobilenetv3_small_x0_35", num_classes=2), path)
    # Weights that fit, in a graph that computes something else: shapes alone would not tell.
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "HardSwish":
            node.op_type = "Relu"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="its own graph gives other results"):
        load_pretrained(network(), path)


def test_an_onnx_file_whose_weights_lie_elsewhere_reads_nothing_there(tmp_path: Path) -> None:
    model = onnx.load_from_string(unfused(network()))
    onnx.save_model(model, tmp_path / "w.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(WeightsError, match="lie in other files"):
        load_pretrained(network(), tmp_path / "w.onnx")


def test_import_writes_safetensors_with_their_origin(tmp_path: Path) -> None:
    there = network(7, seed=1)
    torch.save(there.state_dict(), tmp_path / "w.pth")
    done = import_weights(tmp_path / "w.pth", "PPLCNet_x0_25", tmp_path / "w.safetensors")
    assert (done.network, done.num_classes) == ("pplcnet_x0_25", 7)
    with safe_open(done.path, "pt") as file:
        assert '"num_classes": 7' in file.metadata()[KEY]
    here = network(7, seed=2)
    load_pretrained(here, done.path)
    assert np.array_equal(logits(here), logits(there))
    trunk = import_weights(
        tmp_path / "w.pth", "pplcnet_x0_25", tmp_path / "t.safetensors", skip=["classifier"]
    )
    assert trunk.num_classes is None
    with pytest.raises(CheckpointError, match=r"2 missing \(fc.weight, fc.bias\); to begin with"):
        load_pretrained(here, trunk.path)
    load_pretrained(network(3), trunk.path, skip=["classifier"])


def test_import_is_strict_and_lists(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    del state["conv1.bn.bias"]
    state["extra"] = torch.ones(2)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as caught:
        import_weights(tmp_path / "w.pth", "pplcnet_x0_25", tmp_path / "o.safetensors")
    message = str(caught.value)
    assert "1 missing (conv1.bn.bias); 1 left over (extra)" in message
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.golden
def test_fine_tuning_starts_from_the_imported_features(tmp_path: Path) -> None:
    """A new number of classes, one command; before the first step the features are those of the file."""
    root = make_images(tmp_path / "pictures")
    three = ("data.labels=[a, b, c]", f"model.pretrained={PADDLE}", "train.epochs=1")
    with pytest.raises(CheckpointError, match=r"skip: \[classifier\]"):
        initial_model(tiny_recipe(root, *three))
    recipe = tiny_recipe(root, *three, "model.skip=[classifier]")
    first, imported = initial_model(recipe).eval(), network()
    load_pretrained(imported, PADDLE)
    images = torch.from_numpy(synth_input(2, 64, 64))
    with torch.inference_mode():
        ours, theirs = first.forward_features(images), imported.eval().forward_features(images)
        assert torch.equal(ours, theirs)
        assert torch.equal(first.pre_logits(ours), imported.pre_logits(theirs))
        assert first(images).shape == (2, 3)
    done = fit(recipe, tmp_path / "run")
    moved = load_checkpoint(done.last).model["conv1.conv.weight"]
    assert not torch.equal(moved, imported.conv1.conv.weight)


def test_a_skip_without_weights_is_a_mistake(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures")
    with pytest.raises(ConfigError, match=r"model\.skip: nothing to skip"):
        initial_model(tiny_recipe(root, "model.skip=[classifier]"))


HOST = "/paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models"


@pytest.mark.golden
@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("true", "PPLCNet_x0_25_pretrained"),
        ("ssld", "PPLCNet_x0_25_ssld_pretrained"),
        ("PPLCNet_x0_25_ssld", "PPLCNet_x0_25_ssld_pretrained"),
        ("URL", "mine"),
    ],
)
def test_published_weights_by_word(
    value: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYSIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    root = make_images(tmp_path / "pictures")
    with FileServer() as server:
        monkeypatch.setenv("TINYSIGHT_MIRROR", server.url)
        server.pages[f"{HOST}/{file}.pdparams"] = Page(PADDLE.read_bytes())
        if value == "URL":
            value = f"https:/{HOST}/{file}.pdparams"
        model = initial_model(tiny_recipe(root, f"model.pretrained={value}"))
    imported = network()
    load_pretrained(imported, PADDLE)
    assert np.array_equal(logits(model), logits(imported))
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    initial_model(tiny_recipe(root, f"model.pretrained={value}"))  # from the cache


def test_weights_that_nobody_publishes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"model\.pretrained: .*there are: true, ssld"):
        find_pretrained("ssld_stage1", "pplcnet_x0_25")
    with pytest.raises(ConfigError, match="network with public weights 'efficientnet_lite0'"):
        find_pretrained(True, "efficientnet_lite0")
    with pytest.raises(FetchError, match="TINYSIGHT_OFFLINE forbids"):
        find_pretrained(True, "pplcnet_x0_25")
