"""Networks among the recorded programs that the zoo has: built here, filled by the same rule, the recorded logits."""

from __future__ import annotations

import numpy as np
import torch

from support.golden import Case, each_case, synth_input
from support.networks import fill, find_network, recorded_options
from tinysight.models import create_model
from tinysight.registry import backbones, fold

NETWORKS = set(map(fold, backbones.names()))


@each_case("programs", lambda case: fold(case["network"]) in NETWORKS)
def test_the_recorded_logits(case: Case) -> None:
    model = create_model(
        find_network(case["network"]),
        num_classes=case["class_num"],
        **recorded_options(case["arguments"]),
    )
    model.reparameterize()  # the rule fills what a program holds: one convolution for several branches
    fill(model)
    factors = {name: f for _, name, _, _, f in case["records"] if f not in (1.0, "constants")}
    with torch.inference_mode():
        for name, factor in factors.items():  # of the classifier, which has one name on both sides
            model.get_parameter(name).mul_(factor)
        n, _, h, w = case["input"]
        found = model.eval()(torch.from_numpy(synth_input(n, h, w))).numpy()
    logits = case.arrays["logits"]
    np.testing.assert_allclose(found, logits, rtol=0, atol=3e-4 * logits.std())
