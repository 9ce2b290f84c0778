"""Assigners and losses of detectors: every recorded case, and corner cases worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support.golden import Case, cases, each
from tinysight.losses.assigners import Predicted, atss, overlaps, simota, task_aligned
from tinysight.losses.detection import TERMS, DetectionLoss, Heads, distribution_focal, varifocal
from tinysight.models.detector.picodet import cells, expected_distances, to_boxes
from tinysight.registry import losses


def heads_of(
    scores: Tensor, distances: Tensor, height: int, width: int, logits: Tensor | None = None
) -> Heads:
    """What a network with these outputs gives, for an input of this size."""
    at = cells(height, width)
    sides = expected_distances(distances)
    boxes = to_boxes(sides * at.strides[:, None], at.centres)
    return Heads(scores, distances, logits, boxes, sides, *at)


def recorded(kind: str) -> list[Any]:
    found = [c for c in cases("picodet_train") if c.path.stem == kind]
    return [pytest.param(c, id=c["id"]) for c in found]


KINDS = {"SimOTA": "simota", "ATSS": "task_aligned", "TaskAligned": "task_aligned"}


@each("case", recorded("simota") + recorded("atss_tal"), "picodet_train")
def test_recorded(case: Case) -> None:
    about, arrays = case.tree["arch_numbers"], case.file_arrays
    own = case.arrays
    names = [k.split("|")[1] for k in arrays if k.startswith(f"{case['preds']}|")]
    logit = "cls" in names
    first = torch.from_numpy(arrays[f"{case['preds']}|{'cls' if logit else 'prob'}"].copy())
    distances = torch.from_numpy(arrays[f"{case['preds']}|reg"].copy()).requires_grad_()
    first.requires_grad_()
    scores, logits = (first.sigmoid(), first) if logit else (first, None)
    heads = heads_of(scores, distances, *about["input"], logits)
    loss = build(case, about)
    targets, labels = recorded_boxes(own, about["num_classes"])
    _check_assigned(case, loss, heads, targets, labels)
    sums = loss(heads, targets, case.get("epoch_id", 0))
    divisors = sums.divisors.clamp(min=1) if logit else sums.divisors
    terms = sums.values / divisors
    expected = [float(v) for v in case["losses"].values()]
    assert [name.removeprefix("loss_") for name in case["losses"]] == ["vfl", "bbox", "dfl"]
    if not np.isfinite(expected).all():  # PaddleDetection divides by 0
        assert not torch.isfinite(terms).any()
        assert torch.isfinite(sums.values / sums.divisors.clamp(min=1)).all()
        return
    assert terms.tolist() == pytest.approx(expected, rel=2e-5, abs=1e-6)
    (box,) = torch.autograd.grad(terms[1], distances, retain_graph=True)
    terms.sum().backward()
    assert first.grad is not None
    assert distances.grad is not None
    _close(first.grad, own["grad_cls" if logit else "grad_prob"])
    _close(distances.grad, own["grad_reg"])
    _close(box, own["grad_reg_bbox_only"])


def build(case: Case, about: dict[str, Any]) -> DetectionLoss:
    options: dict[str, Any] = {
        "name": KINDS[case["assigner"]],
        "class_weight": about["vfl"]["weight"],
    }
    options |= {"giou_weight": about["giou_weight"], "dfl_weight": about["dfl_weight"]}
    if case["assigner"] == "SimOTA":
        options |= {"radius": about["center_radius"], "candidates": about["candidate_topk"]}
        options |= {"iou_weight": about["iou_weight"], "class_cost": about["cls_weight"]}
    else:
        options |= {
            "nearest": about["atss"]["topk"],
            "side": about["grid_cell_scale"],
            "bounded": False,
        }
        tal = about["tal"]
        options |= {"candidates": tal["topk"], "alpha": tal["alpha"], "beta": tal["beta"]}
        options["static_epochs"] = case["epoch_id"] + (case["assigner"] == "ATSS")
    loss: DetectionLoss = losses.build(options)
    return loss


def recorded_boxes(own: dict[str, np.ndarray], classes: int) -> tuple[Tensor, np.ndarray]:
    """Targets (N, G, 5), and the recorded label of each cell, (N, A)."""
    if "gt_bbox" in own:
        mask = own["pad_gt_mask"].reshape(*own["gt_bbox"].shape[:2], 1) > 0
        ids = np.where(mask, own["gt_class"].reshape(mask.shape), -1)
        rows = np.concatenate([ids, own["gt_bbox"]], axis=2)
        return torch.from_numpy(rows.astype(np.float32)), own["label"]
    count = sum(k.startswith("gt_bbox#") for k in own)
    boxes = [own[f"gt_bbox#{i}"].reshape(-1, 4) for i in range(count)]
    rows = np.full((count, max(map(len, boxes)), 5), -1, np.float32)
    for i, own_boxes in enumerate(boxes):
        rows[i, : len(own_boxes), 1:] = own_boxes
        rows[i, : len(own_boxes), 0] = own[f"gt_class#{i}"].reshape(-1)
    return torch.from_numpy(rows), np.stack([own[f"label#{i}"].reshape(-1) for i in range(count)])


def _check_assigned(
    case: Case, loss: DetectionLoss, heads: Heads, targets: Tensor, labels: np.ndarray
) -> None:
    own, classes = case.arrays, case.tree["arch_numbers"]["num_classes"]
    for i, rows in enumerate(targets):
        found, rows = loss._one(heads, i, rows, case.get("epoch_id", 0))
        box = found.box.numpy()
        ids = np.where(box >= 0, rows[:, 0].numpy()[box] if len(rows) else 0, classes)
        known = np.ones(len(box), bool)
        if "score" in own:  # cells with a measure of 0 may be taken or not
            score = own["score"][i]
            known = (score.max(1) > 0) | (box < 0) & (labels[i] == classes)
            assert np.abs(found.quality.numpy() - score.max(1)).max() < 2e-5
        assert np.array_equal(ids[known], labels[i].reshape(-1)[known])
        expected = own["box"][i] if "box" in own else own[f"bbox_target#{i}"]
        mine = (box >= 0) & known
        assert np.abs(rows[:, 1:].numpy()[box[mine]] - expected[mine]).max(initial=0) < 1e-3


def _close(found: Tensor, expected: np.ndarray) -> None:
    assert np.abs(found.numpy() - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-12)


# By hand: one level would do, but cells are cells; an input of 64 x 64 has 64 + 16 + 4 + 1.


def flat(scores: float = 0.1, classes: int = 2, size: int = 64, reach: float = 1.0) -> Predicted:
    """Cells that all say the same, with boxes of `reach` strides around their centres."""
    at = cells(size, size)
    half = at.strides[:, None] * reach
    boxes = torch.cat([at.centres - half, at.centres + half], dim=1)
    return Predicted(torch.full((len(boxes), classes), scores), boxes, *at)


def boxes(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_a_box_smaller_than_a_cell_still_gets_one() -> None:
    # It holds no centre; those of the cells around it are within 2.5 strides, at a cost of 1e8 each, and one is due.
    found = simota(flat(), boxes((9, 9, 11, 11)), torch.tensor([0]))
    assert int((found.box >= 0).sum()) == 1
    # Neither rule of the second form takes a cell whose centre is not inside.
    for rule in (atss, task_aligned):
        assert int((rule(flat(), boxes((9, 9, 11, 11)), torch.tensor([0])).box >= 0).sum()) == 0


def test_one_box_takes_as_many_cells_as_it_is_covered_times() -> None:
    # Squares of 16 x 16 around the centres of the finest cells. The box is that of the cell in row 1, column 1: IoU
    # 1 there, 1/3 at four neighbours (8 x 16 of 384), 1/7 at four diagonal ones (64 of 448). Of the coarser cells
    # (squares of 32) one covers the box: (16, 16) of centre (8, 8), IoU 0.5 x ... The ten best sum to 2.9 or more.
    found = simota(flat(), boxes((4, 4, 20, 20)), torch.tensor([1]))
    own = flat().boxes
    best = overlaps(own, boxes((4, 4, 20, 20)))[0].topk(10).values.sum()
    assert int((found.box >= 0).sum()) == int(best)
    assert int(found.quality.argmax()) == 9  # row 1, column 1
    assert float(found.quality.max()) == pytest.approx(1.0)


def test_a_cell_that_two_boxes_want_goes_to_the_cheaper() -> None:
    # The same box twice: the class of the higher score is cheaper for every cell.
    own = flat()
    own.scores[:, 1] = 0.9
    twice = boxes((4, 4, 20, 20), (4, 4, 20, 20))
    found = simota(own, twice, torch.tensor([0, 1]))
    assert set(found.box.tolist()) == {-1, 1}
    # Overlaps are equal: ATSS and alignment give them to the first.
    for rule in (atss, task_aligned):
        assert set(rule(own, twice, torch.tensor([0, 1])).box.tolist()) == {-1, 0}


def test_equal_costs_take_the_earlier_cell() -> None:
    # Between four centres, all alike: (8, 8) is the corner of the first four cells.
    found = simota(flat(), boxes((7, 7, 9, 9)), torch.tensor([0]))
    assert found.box.nonzero() is not None
    taken = (found.box >= 0).nonzero()[:, 0].tolist()
    assert taken[0] in (
        0,
        64,
    )  # the cell of stride 16 whose centre is (8, 8), or the first of the finest


@pytest.mark.parametrize("name", ["simota", "task_aligned"])
@pytest.mark.parametrize("epoch", [0, 100])
def test_no_boxes_at_all_give_numbers(name: str, epoch: int) -> None:
    loss = losses.build({"name": name})
    at = cells(64, 64)
    logits = torch.randn(2, len(at.centres), 3, requires_grad=True)
    distances = torch.randn(2, len(at.centres), 32, requires_grad=True)
    heads = heads_of(logits.sigmoid(), distances, 64, 64, logits)
    for targets in (torch.zeros(2, 0, 5), torch.full((2, 3, 5), -1.0)):
        sums = loss(heads, targets, epoch)
        assert sums.values[1:].tolist() == [0, 0]
        assert float(sums.values[0].detach()) > 0
        (sums.values / sums.divisors.clamp(min=1)).sum().backward(retain_graph=True)
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(distances.grad).all()


def test_few_cells_on_a_level_are_all_taken() -> None:
    # 64 x 64 has levels of 4 and 1 cells, fewer than nine.
    found = atss(flat(reach=2.5), boxes((0, 0, 64, 64)), torch.tensor([0]))
    assert int((found.box >= 0).sum()) >= 1


def test_distances_at_whole_numbers_and_at_the_end() -> None:
    logits = torch.randn(1, 4, 8, dtype=torch.float64)
    target = torch.tensor([[0.0, 3.0, 6.0, 6.9]], dtype=torch.float64)
    log = logits.log_softmax(-1)[0]
    expected = [-log[0, 0], -log[1, 3], -log[2, 6], -(0.1 * log[3, 6] + 0.9 * log[3, 7])]
    found = distribution_focal(logits, target)[0].tolist()
    assert found == pytest.approx([float(v) for v in expected])


def test_scores_that_are_right_cost_little() -> None:
    logits = torch.tensor([-20.0, 20.0])
    assert float(varifocal(logits.sigmoid(), torch.tensor([0.0, 1.0]), logits).sum()) < 1e-6


def test_boxes_apart() -> None:
    # Unit squares with a gap of 1: union 2, around both 3.
    iou, giou = overlaps(boxes((0, 0, 1, 1)), boxes((2, 0, 3, 1)))
    assert iou.tolist() == [0]
    assert giou.tolist() == pytest.approx([-1 / 3])


def test_the_terms_have_names() -> None:
    assert TERMS == ("classes", "boxes", "distances")
