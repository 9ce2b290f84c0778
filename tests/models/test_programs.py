"""Networks recorded as exported programs: other sizes than those recorded as networks.

The weights follow the rule times a factor per entry; `logits` come from PaddleClas' own
network.
"""

from __future__ import annotations

import numpy as np
import torch

from support.golden import Case, each_case, not_built, synth, synth_input
from support.networks import recorded_options
from support.weights import load_reference
from tinysight.errors import UnknownName
from tinysight.models import create_model
from tinysight.models.weights import reference_entries


@each_case("programs")
def test_program(case: Case) -> None:
    options = recorded_options(case["arguments"])
    try:
        model = create_model(case["network"], case["class_num"] or 0, **options)
    except UnknownName:
        not_built(f"network {case['network']}")
    model.reparameterize()  # as the exporter does
    factors = {r[1]: r[4] for r in case["records"] if r[4] != "constants"}
    entries = {e.name: e.shape for e in reference_entries(model)}
    tables = {n for n in entries if n.endswith(("bias_table", "position_index"))}
    assert entries.keys() - tables == factors.keys()  # the program holds the tables gathered
    weights = {}
    for entry, shape in entries.items():
        value = synth(entry, shape)
        if value is not None:
            weights[entry] = value * np.float32(factors.get(entry, 1.0))
    load_reference(model, weights, case["id"], strict=not tables)
    n, _, h, w = case["input"]
    logits = case.arrays["logits"]
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(synth_input(n, h, w))).numpy()
    assert np.abs(found - logits).max() < 1e-4 * logits.std()
