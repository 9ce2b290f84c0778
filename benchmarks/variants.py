"""Both networks of the small recipes in every engine's format: written, run, compared on real images.

    python benchmarks/variants.py
    python benchmarks/variants.py --to ncnn,mnn --images samples/clarity --weights pplcnet.safetensors

PP-LCNet x1.0 and PP-HGNetV2-B0 with seeded weights; their normalisation is measured on the images and
their last layer made steep, so that scores spread over (0, 1) as those of a trained network do. With
--weights PP-LCNet takes trained ones. Prints a row a variant: largest and mean score difference from
ONNX Runtime, labels that change; a variant that is refused prints the reason, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import Input, Manifest
from tinysight.data.lists import Sample
from tinysight.errors import TinysightError
from tinysight.export.onnx import INPUT, to_onnx
from tinysight.export.variants import add_variants, find_images, predict_images
from tinysight.models import create_model
from tinysight.training.pretrained import load_pretrained

TRANSFORMS = (
    {"name": "resize", "short": 256},
    {"name": "center_crop", "size": 224},
    {"name": "normalize"},
)
TO = "openvino,ncnn,mnn,executorch,litert,torchscript,pt2"
CLASSES = 4


def manifest(task: str) -> Manifest:
    """Of a classifier of four classes."""
    return Manifest(
        task=task,
        input=Input(INPUT, (None, 3, 224, 224), "float32"),
        output="scores",
        transforms=TRANSFORMS,
        postprocess={"name": "topk", "k": 1},
        labels=tuple(f"class {i}" for i in range(CLASSES)),
    )


def network(name: str, found: list[Sample], weights: Path | None) -> nn.Module:
    """The network with trained weights, or with seeded ones that answer as variedly."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES)
    if weights:
        load_pretrained(model, weights)
        return model.eval()
    inputs = predict_images(manifest(name), found, lambda inputs: inputs).outputs
    shown = torch.from_numpy(inputs)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(shown)
        logits = model.eval()(shown)
        last = model.get_submodule(model.classifier_name)
        steep = 3 / logits.std(dim=0).mean()
        last.weight.mul_(steep)
        last.bias.sub_(logits.mean(dim=0)).mul_(steep) if last.bias is not None else None
    return model


def main() -> int:
    """Print a row for every network and engine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", default=TO)
    parser.add_argument("--images", default="samples/clarity")
    parser.add_argument("--weights", type=Path, help="trained weights of PP-LCNet x1.0, 4 classes")
    args = parser.parse_args()
    found, refused = find_images(args.images, CLASSES), 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pplcnet_x1_0", "pphgnetv2_b0"):
            model = network(name, found, args.weights if name == "pplcnet_x1_0" else None)
            data = to_onnx(model, (3, 224, 224), opset=18, metadata={})
            bundle = Bundle.write(Path(folder, name), manifest(name), {MODEL: data})
            for engine in args.to.split(","):
                try:
                    variant = add_variants(bundle, [engine], found).manifest.variants[engine]
                except TinysightError as error:
                    print(f"{name:14} {engine:12} refused: {error}", flush=True)
                    refused += 1
                    continue
                print(
                    f"{name:14} {engine:12} {variant.images} images, scores within "
                    f"{variant.max_score_difference:.2g} (mean {variant.mean_score_difference:.2g}), "
                    f"{variant.label_flips} labels differ",
                    flush=True,
                )
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
