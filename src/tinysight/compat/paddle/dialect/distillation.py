"""`DistillationModel` and its losses: a student, teachers, and terms between their outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.rules import Reader, Spec, put
from tinysight.compat.paddle.dialect.sections import model_section
from tinysight.config.schema import STUDENT
from tinysight.errors import nearest

CONTAINER = "DistillationModel"
_OUTPUTS = {
    None: "logits", "logits": "logits", "backbone": "pooled", "flatten": "pooled",
    "neck": "embedding", "features": "embedding",
}  # fmt: skip
_TRANSFORM = "LinearTransform"
_OF_TEACHER = ("backbone", "neck", "head", "pretrained", "skip")


class Container(NamedTuple):
    """What the losses need of a `DistillationModel`.

    Attributes:
        classes: of the student, None where the lists say it.
        names: our name of each network by PaddleClas'.
        mapped: outputs that an attention transform takes, by PaddleClas' name of the network.
        mixed: how much the labels of a mixed batch are smoothed.
    """

    classes: int | None
    names: Mapping[str, str]
    mapped: Mapping[str, list[str]]
    mixed: float = 0.0


def container_section(
    reader: Reader, values: Any, common: dict[str, Any], native: Spec
) -> Container:
    """Write `Arch` of several networks: the one that is exported is the student, the others are teachers."""
    found = reader.section(values, "Arch", CONTAINER)
    listed, wanted = reader.items(found.get("models"), "Arch.models"), found["infer_model_name"]
    members = [name for _, name, _ in listed]
    if not members:
        reader.wrong("Arch.models", "names no network")
    elif wanted not in members:
        what = f"no network is called {wanted!r}"
        reader.wrong("Arch.infer_model_name", what, nearest(wanted, members))
    if wanted != "Student":
        what = f"{wanted} is evaluated; PaddleClas would evaluate a network called Student"
        reader.note("Arch.infer_model_name", what)
    frozen = _per_member(reader, found, "freeze_params_list", "Arch", len(listed))
    weights = _per_member(reader, found, "pretrained_list", "Arch", len(listed))
    if found["use_sync_bn"]:
        put(native, "train.sync_bn", True)
    classes: int | None = 2
    names, mapped = dict[str, str](), dict[str, list[str]]()
    for i, (where, name, arguments) in enumerate(listed):
        inner, fixed = arguments, bool(frozen[i])
        if arguments.get("name") == "AttentionModel":
            where, inner, within = _attention(reader, where, arguments, mapped, name)
            fixed = fixed or within
        if weights[i] is not None:
            reader.note("Arch.pretrained_list", "read here; PaddleClas stops with an error")
            inner = {**inner, "pretrained": weights[i]}
        own: Spec = {}
        _, count = model_section(reader, inner, common, own, where)
        model = own.get("model", {})
        names[name] = STUDENT if name == wanted else name.lower()
        if name == wanted:
            classes = count
            native["model"] = model
            if fixed:
                reader.wrong("Arch.freeze_params_list", f"{name} is frozen, so nothing would learn")
        else:
            teacher = {k: v for k, v in model.items() if k in _OF_TEACHER}
            if isinstance(teacher.get("pretrained"), str) and "." in teacher["pretrained"]:
                # A file may hold the classifier: it is asked when it is read.
                teacher.pop("skip", None)
            native.setdefault("teachers", {})[names[name]] = {**teacher, "learns": not fixed}
        for key, value in own.get("train", {}).items():  # by the sync_bn or data_format of any
            put(native, f"train.{key}", value)
    if not found["infer_add_softmax"] and "head" not in native.get("model", {}):
        put(native, "export.probabilities", False)  # a bundle of a RecModel gives vectors
    if native.get("train", {}).get("sync_bn"):
        native.get("model", {}).pop("batch_norm_variance", None)
    if any(frozen):
        what = "a frozen network normalises by its running statistics, which PaddleClas goes on changing"
        reader.note("Arch.freeze_params_list", f"{what} (teachers.*.batch_statistics)")
    return Container(classes, names, mapped)


def _per_member(reader: Reader, found: Spec, key: str, where: str, count: int) -> list[Any]:
    given = found.get(key)
    if given is None:
        return [None] * count
    if not isinstance(given, list) or len(given) != count:
        reader.wrong(f"{where}.{key}", f"should be a list of {count}, one for each network")
        return [None] * count
    return given


def _attention(
    reader: Reader, where: str, values: Any, mapped: dict[str, list[str]], name: str
) -> tuple[str, Mapping[str, Any], bool]:
    """The network in an `AttentionModel`, its place, and whether it is frozen; its transform is part of the loss."""
    found = reader.section(values, where, "AttentionModel")
    listed = reader.items(found.get("models"), f"{where}.models")
    frozen = _per_member(reader, found, "freeze_params_list", where, len(listed))
    network: tuple[str, Mapping[str, Any], bool] = (where, {}, False)
    for i, (place, _, arguments) in enumerate(listed):
        if str(arguments.get("name", "")).startswith(_TRANSFORM):
            own = reader.section(arguments, place, _TRANSFORM)
            mapped[name] = [_output(key) for key in own.get("keys", [])]
        else:
            network = place, arguments, bool(frozen[i])
    return network


def distill_section(reader: Reader, tree: Spec, native: Spec, of: Container) -> None:
    """Write `Loss.Train` as terms between the networks, and of each with the labels."""
    found = reader.section(tree.get("Loss"), "Loss", "Loss")
    listed = reader.items(found.get("Train"), "Loss.Train")
    if not listed:
        reader.wrong("Loss.Train", "names no loss")
    terms: list[Spec] = []
    kinds: list[str] = []
    for where, name, arguments in listed:
        made = _terms(reader, where, name, arguments, of)
        if len(listed) == 1:
            if any(spec["weight"] != 1.0 for spec in made):
                reader.note(f"{where}.weight", "a lone loss is not weighted")
            made = [{**spec, "weight": 1.0} for spec in made]
            if sum(len(_of(spec)) for spec in made) > 1:
                reader.note(where, "all of its values count; PaddleClas takes the first alone")
        key = str([arguments.get(k) for k in ("model_names", "model_name_pairs")])
        if f"{name}{key}" in kinds:
            what = "added to the one before; PaddleClas forgets the first of two of one name"
            reader.note(where, what)
        kinds.append(f"{name}{key}")
        terms += made
    native.pop("loss", None)
    native["losses"] = terms


def _of(spec: Spec) -> list[Any]:
    return list(spec.get("of", [spec]))


def _terms(reader: Reader, where: str, name: str, arguments: Any, of: Container) -> list[Spec]:
    table, kind = "distillation_losses", name
    if name == "DistillationPairLoss":
        table, kind = "pair_losses", str(arguments.get("base_loss_name"))
    made = reader.component("loss of several networks", table, kind, arguments, where)
    if made is None:
        return []
    spec, found = made
    if "act" in arguments and arguments["act"] is None:
        spec["activation"] = "none"
    smoothing = found.get("epsilon")
    if smoothing is not None and 0 < smoothing < 1:
        spec["label_smoothing"] = smoothing
        if spec["name"] == "multilabel":
            spec["smooth_towards"] = "uniform"
        elif spec["name"] == "soft_cross_entropy":
            what = "the teacher's probabilities are smoothed; PaddleClas smooths its logits"
            reader.note(f"{where}.epsilon", what)
    elif of.mixed and spec["name"] == "cross_entropy":
        spec["label_smoothing"] = of.mixed
    output = _output(found.get("key"))
    if "model_names" in found or spec["name"] in ("cross_entropy", "multilabel"):
        names = [_network(reader, where, n, of) for n in found.get("model_names", [])]
        if not names:
            reader.wrong(f"{where}.model_names", "is needed")
        return [{**spec, "of": [_tap(n, output) for n in names]}]
    if spec["name"] == "afd":
        pair = found["model_name_pair"]
        if not all(of.mapped.get(n) for n in pair):
            reader.wrong(where, "needs a LinearTransform beside each of its networks")
        sides = [
            [_tap(_network(reader, where, n, of), o) for o in of.mapped.get(n, [])] for n in pair
        ]
        return [{**spec, "between": sides}]
    pairs = _pairs(reader, where, found, of)
    keys = [(output, output)]
    if "s_key" in found:  # one for each pair, or one for all
        keys = _zipped(reader, where, found["s_key"], found.get("t_key") or [])
        if len(keys) > 1:
            both = zip(pairs, keys, strict=False)
            return [{**spec, "between": [_tap(a, s), _tap(b, t)]} for (a, b), (s, t) in both]
    if "student_keepkeys" in found or spec["name"] == "rkd_angle":
        own, other = (found.get(f"{side}_keepkeys") or [] for side in ("student", "teacher"))
        keys = _zipped(reader, where, own, other) or keys
    terms = [{**spec, "between": [_tap(a, s), _tap(b, t)]} for a, b in pairs for s, t in keys]
    if spec["name"] == "rkd_angle":
        more = [{**term, "name": "rkd_distance", "mean_of_all": True} for term in terms]
        terms = [term for pair in zip(terms, more, strict=True) for term in pair]
    return terms


def _pairs(reader: Reader, where: str, found: Spec, of: Container) -> list[tuple[str, str]]:
    place, given = f"{where}.model_name_pairs", found.get("model_name_pairs")
    good = isinstance(given, list) and given and all(
        isinstance(pair, list) and len(pair) == 2 for pair in given
    )  # fmt: skip
    if not good:
        reader.wrong(place, "should be a list of pairs of networks")
        return []
    return [tuple(_network(reader, place, str(n), of) for n in pair) for pair in given]  # type: ignore[union-attr,misc]


def _zipped(
    reader: Reader, where: str, first: Sequence[str], second: Sequence[str]
) -> list[tuple[str, str]]:
    if len(first) != len(second):
        reader.wrong(where, f"{len(first)} outputs of the student, {len(second)} of the teacher")
        return []
    return [(_output(s), _output(t)) for s, t in zip(first, second, strict=True)]


def _network(reader: Reader, where: str, name: str, of: Container) -> str:
    if name not in of.names:
        reader.wrong(where, f"no network is called {name!r}", nearest(name, list(of.names)))
    return of.names.get(name, STUDENT)


def _tap(network: str, output: str) -> str:
    return network if output == "logits" else f"{network}.{output}"


def _output(key: str | None) -> str:
    """Our name of an output: `blocks[5]` is `blocks.5`."""
    return _OUTPUTS[key] if key in _OUTPUTS else re.sub(r"\[(\d+)\]", r".\1", str(key))
