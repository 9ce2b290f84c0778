"""Networks among the recorded programs that the zoo has: built here, filled by the same rule, the recorded logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support.golden import read_json, read_npz, synth_input
from support.networks import fill, find_network, recorded_options
from support.paddle import program_cases
from tinysight.models import create_model
from tinysight.registry import backbones, fold

pytestmark = pytest.mark.golden


CASES = sorted(
    {
        case
        for case, _ in program_cases()
        if fold(read_json("programs", case, "case.json")["network"])
        in set(map(fold, backbones.names()))
    }
)


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_logits(case: str) -> None:
    described, recorded = (
        read_json("programs", case, "case.json"),
        read_npz("programs", case, "outputs.npz"),
    )
    model = create_model(
        find_network(described["network"]),
        num_classes=described["class_num"],
        **recorded_options(described["arguments"]),
    )
    model.reparameterize()  # the rule fills what a program holds: one convolution for several branches
    fill(model)
    factors = {name: f for _, name, _, _, f in described["records"] if f not in (1.0, "constants")}
    with torch.inference_mode():
        for name, factor in factors.items():  # of the classifier, which has one name on both sides
            model.get_parameter(name).mul_(factor)
        n, _, h, w = described["input"]
        found = model.eval()(torch.from_numpy(synth_input(n, h, w))).numpy()
    logits = recorded["logits"]
    np.testing.assert_allclose(found, logits, rtol=0, atol=3e-4 * logits.std())
