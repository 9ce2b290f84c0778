"""What every registered network can do: sizes, memory layout, half precision, ONNX, compilation.

The fast suite runs one small variant of each family and exports two of them; the others, and the
compiler, are `slow`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from support.networks import fill
from tinysight.export.onnx import to_onnx
from tinysight.models import Backbone, create_model, list_models
from tinysight.registry import backbones

SMALL = (
    "efficientnet_lite0",
    "mobilenetv1_x0_25",
    "mobilenetv3_small_x0_35",
    "pphgnet_tiny",
    "pphgnetv2_b0",
    "pplcnet_x0_25",
    "pplcnetv2_small",
    "res2net50_vd_26w_4s",
    "resnet18_vd",
    "swintransformer_tiny_patch4_window7_224",
)
EXPORTED = ("mobilenetv1_x0_25", "pplcnetv2_small")  # of SMALL, what takes five seconds
CLASSES = 5
OBLONG = (64, 96)


def every(fast: tuple[str, ...]) -> list[Any]:
    """All networks, those that are not in `fast` marked slow."""
    return [
        pytest.param(n, marks=() if n in fast else pytest.mark.slow, id=n) for n in list_models()
    ]


def test_every_family_has_a_small_variant() -> None:
    families = [backbones.get(n).__module__ for n in SMALL]
    assert sorted(families) == sorted({backbones.get(n).__module__ for n in list_models()})


def settled(name: str) -> Backbone:
    """The network in evaluation, filled by the recording's rule, with logits of deviation 1.

    Fresh weights would hide a difference, as their logits hardly depend on the image; or, where
    200 layers double each rounding error, show one that is none.
    """
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES)
    fill(model)
    with torch.no_grad():
        deviation = model.eval()(torch.randn(4, 3, *OBLONG)).std()
        for parameter in model.get_submodule(model.classifier_name).parameters():
            parameter /= deviation
    return model


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The whole suite runs several processes on few cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", every(SMALL))
def test_sizes_layout_and_half_precision(name: str) -> None:
    model = settled(name)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    small = name in SMALL
    with torch.inference_mode():
        for size in ((64, 64), OBLONG) if small else ((64, 64), (176, 176), (224, 224), OBLONG):
            images = torch.randn(2, 3, *size)
            logits = model(images)
            assert logits.shape == (2, CLASSES)
            other = last(images.to(memory_format=torch.channels_last))
            # The layouts add up in another order. MobileNetV3 large, which amplifies rounding most
            # (its recording has ten times the limit of the others), differs by 1.3e-3; a wrong
            # layout would differ by as much as the logits themselves.
            torch.testing.assert_close(other, logits, rtol=0, atol=5e-3 * float(logits.std()))
        with torch.autocast("cpu", torch.bfloat16):
            half = last(images.to(memory_format=torch.channels_last))
        assert half.dtype == torch.bfloat16
        # Eight bits through fifty layers of noise: near, no more.
        assert float((half.float() - logits).square().mean().sqrt()) < 0.5 * float(logits.std())
    last.train()
    with torch.autocast("cpu", torch.bfloat16):
        y = last(torch.randn(2, 3, *OBLONG).to(memory_format=torch.channels_last))
    y.float().square().sum().backward()
    gradients = [p.grad for p in last.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("name", every(EXPORTED))
def test_onnx_agrees(name: str) -> None:
    model = settled(name)
    data = to_onnx(model, (3, *OBLONG), opset=18, metadata={})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    images = torch.randn(3, 3, *OBLONG)
    with torch.inference_mode():
        logits = model(images).double().numpy()
    (scores,) = session.run(None, {"images": images.numpy()})
    found = np.log(scores.astype(np.float64))  # the logits but for one number a row
    found -= found.mean(1, keepdims=True)
    expected = logits - logits.mean(1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-4 * logits.std()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", SMALL)
def test_compiled_agrees(name: str) -> None:
    model = settled(name)
    images = torch.randn(2, 3, *OBLONG)
    with torch.no_grad():
        logits = model(images)
        found = torch.compile(model)(images)
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4 * float(logits.std()))
