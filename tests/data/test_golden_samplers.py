"""The recorded samplers of PaddleClas: what every epoch of theirs keeps, ours keep, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from tinysight.compat.paddle.dialect.recognition import sampler_spec
from tinysight.compat.paddle.dialect.rules import Reader
from tinysight.errors import ConfigError
from tinysight.registry import samplers

IDENTITY = ("PKSampler", "DistributedRandomIdentitySampler")


@each_case("sampler")
def test_the_recorded_invariants_hold(case: Case) -> None:
    name = case["sampler"].partition(" ")[0]
    if name not in (*IDENTITY, "DistributedBatchSampler", "RASampler"):
        not_built(name)
    reader = Reader()
    spec = sampler_spec(reader, {"name": name, **case["kwargs"]}, "sampler")
    size = case["kwargs"]["batch_size"]
    assert not reader.problems
    assert spec is not None
    sampler = samplers.build(spec, "data.sampler")
    if name == "DistributedBatchSampler":
        found = sampler.batches(np.zeros(case["n"], np.int32), size, np.random.default_rng(0))
        assert sorted(np.concatenate(found)) == list(range(case["n"]))
        return
    if name == "RASampler":
        check_repeated(
            case, sampler.batches(np.zeros(case["n"], np.int32), size, np.random.default_rng(0))
        )
        return
    labels = np.array(case["labels"])
    if "error" in case:
        with pytest.raises(ConfigError):
            sampler.batches(labels, size, np.random.default_rng(0))
        return
    each = spec["per_identity"]
    for seed in range(3):
        batches = sampler.batches(labels, size, np.random.default_rng(seed))
        if name == "PKSampler" or "max_iters" in case["kwargs"]:
            assert len(batches) == case["len"]
        else:
            assert 0 < len(batches) <= case["len"]
        for batch in batches:
            check_batch(labels, batch, each, case["invariants"])


def check_repeated(case: Case, found: list[np.ndarray]) -> None:
    """As many batches, as often each image; below 256 images, where PaddleClas has none, all of them count."""
    if case["n"] < 256:
        assert case["len"] == 0
        assert sum(map(len, found)) == case["n"]
        return
    for batches in (found, [np.array(batch) for batch in case["batches"][0]]):
        assert len(batches) == case["len"]
        order = np.concatenate(batches)
        first = order[::3]
        assert len(set(first.tolist())) == len(first)
        np.testing.assert_array_equal(order, np.repeat(first, 3)[: len(order)])


def check_batch(
    labels: np.ndarray, batch: np.ndarray, each: int, invariants: dict[str, Any]
) -> None:
    assert [len(batch)] == invariants["batch_sizes"]
    blocks = labels[batch].reshape(-1, each)
    assert (blocks == blocks[:, :1]).all()
    assert len(set(blocks[:, 0])) == len(blocks)
    for block in batch.reshape(-1, each):
        enough = (labels == labels[block[0]]).sum() >= each
        assert not enough or len(set(block.tolist())) == each
    assert all(value for name, value in invariants.items() if name != "batch_sizes")


def test_chances_are_those_that_are_recorded() -> None:
    """Identities in proportion to their images; twice as likely where they are boosted."""
    labels = np.repeat([3, 1, 2, 0], [8, 2, 4, 2])
    spec = {"name": "pk", "per_identity": 2, "choose": "frequency", "epoch_batches": 4000}
    plain = drawn(spec, labels)
    # Of two without replacement: the first's chance, and that of coming second.
    chance = np.array([2, 2, 4, 8]) / 16
    second = [
        sum(chance[j] * chance[i] / (1 - chance[j]) for j in range(4) if j != i) for i in range(4)
    ]
    assert plain == pytest.approx(chance + second, abs=0.03)
    boosted = drawn({**spec, "choose": "uniform", "boost": [[0, 0, 3.0]]}, labels)  # identity 3
    chance = np.array([1, 1, 1, 3]) / 6
    second = [
        sum(chance[j] * chance[i] / (1 - chance[j]) for j in range(4) if j != i) for i in range(4)
    ]
    assert boosted == pytest.approx(chance + second, abs=0.03)


def drawn(spec: dict[str, Any], labels: np.ndarray) -> np.ndarray:
    """Share of the batches that each identity is in."""
    batches = samplers.build(spec, "data.sampler").batches(labels, 4, np.random.default_rng(1))
    assert len(batches) == 4000
    return np.bincount(labels[np.concatenate(batches)]) / 2 / len(batches)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boost": [[0, 1, 2.0]]}, "boost is for identities that are drawn"),
        ({"keep_last": True}, "keep_last is for identities that are drawn"),
        ({"choose": "uniform", "boost": [[0, 9, 0.0]]}, "fewer than the 2 identities"),
        ({"choose": "uniform", "boost": [[0, 9, -1.0]]}, "below 0"),
    ],
)
def test_what_pk_cannot_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        samplers.build({"name": "pk", "per_identity": 2, **options}, "data.sampler").batches(
            np.arange(9) // 3, 4, np.random.default_rng(0)
        )
