"""Images that are labelled in another order of the labels than the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinysight.data.samples import Gathered
from tinysight.errors import ConfigError
from tinysight.evaluation.report import in_order_of

OWN = ("a", "b", "c")


def test_class_ids_are_mapped_by_name() -> None:
    into = Gathered()
    into.begin(Path("list"), Path())
    for label in (0, 1, -1, 0):
        into.add(b"x", label)
    assert in_order_of(OWN, ("c", "a"), into.done()).labels.tolist() == [2, 0, -1, 2]
    assert in_order_of(OWN, OWN, into.done()).labels.tolist() == [0, 1, -1, 0]
    with pytest.raises(ConfigError, match="d: not among the labels"):
        in_order_of(OWN, ("a", "d"), into.done())


def test_columns_of_several_labels_are_mapped_by_name() -> None:
    into = Gathered(3, "b")
    into.begin(Path("list"), Path())
    into.add(b"x", [1, 0, 0])
    into.add(b"y", [0, 1, 1])
    found = in_order_of(OWN, ("c", "a", "b"), into.done()).labels
    assert np.array_equal(found, [[0, 0, 1], [1, 1, 0]])
    with pytest.raises(ConfigError):
        in_order_of((*OWN, "d"), OWN, into.done())
