"""Networks of recognition, their samplers and how they are evaluated: `Arch` of a RecModel, `Query` and `Gallery`."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.rules import Reader, Spec, put, tables

MEASURES = {"recall": "Recallk", "mAP": "mAP", "mINP": "mINP", "precision": "Precisionk"}
TANH = {"PPLCNet_x2_5_Tanh": "PPLCNet_x2_5"}  # backbones whose classifier ends in tanh, and without
STOP = "BackboneStopLayer"  # where it is missing, the classifier's outputs are the embedding
_FROZEN = 1e-6  # a factor of the learning rate below it is meant to hold a parameter
# Parts that the published weights lack, or have in another shape.
_OTHER = {"pplcnetv2_base_shitu": ("last_conv", "stages.3.0.dw_conv_list.2")}


def parts_of(
    reader: Reader,
    values: dict[str, Any],
    common: dict[str, Any],
    native: Spec,
    place: str = "Arch",
) -> int | None:
    """Write neck and head of the RecModel at `place`; returns the number of identities, None without a head."""
    found, layer = reader.section(values, place, "RecModel"), f"{place}.{STOP}"
    stop = reader.section(found.get(STOP), layer, "StopLayer")
    spec = native.get("model", {}).get("backbone", {"name": ""})
    given, trunk = found.get("Neck"), found.get("Backbone")
    neck: tuple[dict[str, Any], dict[str, Any]] | None = None
    if STOP not in found:
        trunk = trunk if isinstance(trunk, dict) else {}
        tanh = trunk.get("name") in TANH
        if given == {"name": "Tanh"} and not tanh:
            tanh = True
        elif given is not None:
            what = "comes behind a backbone with its classifier"
            reader.wrong(f"{place}.Neck", what, f"name {STOP}: {{name: flatten}}")
        bounded = {"tanh": True} if tanh else {}
        neck = {"name": "fc", "features": trunk.get("class_num", 1000), **bounded}, {}
    elif stop["name"].startswith(("avg_pool", "adaptive_avg_pool")):
        from tinysight.registry import backbones

        # The vector straight behind the pooling, where the network has more behind it.
        known = spec["name"] in backbones.names()
        if known and "use_last_conv" in backbones.schema(spec["name"]).model_fields:
            spec["use_last_conv"] = False
    elif not stop["name"].startswith("flatten"):
        what = f"the output of {stop['name']} is not available"
        reader.wrong(f"{layer}.name", what, "flatten, or avg_pool")
    if native["model"].get("pretrained") and spec["name"] in _OTHER:
        put(native, "model.skip", list(_OTHER[spec["name"]]))
    if neck := neck or _part(reader, given, f"{place}.Neck", "necks"):
        put(native, "model.neck", neck[0])
    if head := _part(reader, found.get("Head"), f"{place}.Head", "heads"):
        put(native, "model.head", head[0])
        count = head[1].get("class_num", common.get("class_num"))
        if count is None:
            reader.wrong(f"{place}.Head.class_num", "is needed")
        return count
    return None


def _part(reader: Reader, values: Any, where: str, table: str) -> tuple[Spec, Spec] | None:
    if values is None:
        return None
    part, name, keys = where.rpartition(".")[2], "", values
    if isinstance(values, dict):
        name, keys = str(values.get("name")), {k: v for k, v in values.items() if k != "name"}
    made = reader.component(part.lower(), table, name, keys, where)
    if made is None:
        return None
    spec, found = made
    for key in ("weight_attr", "bias_attr"):
        _attribute(reader, found.get(key), f"{where}.{key}", name, part, spec)
    return spec, found


def _attribute(reader: Reader, value: Any, where: str, name: str, part: str, spec: Spec) -> None:
    """Initial values, and whether a parameter learns."""
    bias = where.endswith("bias_attr")
    if value is False and bias:
        if name == "FC":
            spec["bias"] = False
        elif name != "VehicleNeck":  # which goes by its weight_attr
            reader.wrong(where, f"{name} has its bias in any case")
        return
    found = reader.section(value or None, where, "attributes")
    factor = found["learning_rate"]
    if name == "BNNeck" and bias:
        spec["train_bias"] = factor >= _FROZEN
    if factor != 1.0 and not (name == "BNNeck" and bias and factor < _FROZEN):
        what = "only 1, and for the bias of BNNeck one near 0, are available"
        reader.wrong(f"{where}.learning_rate", what)
    start = reader.section(found.get("initializer"), f"{where}.initializer", "initializer")
    if "name" not in start or name == "BNNeck":
        return
    if start["name"] == "Normal" and not bias and (part, name) == ("Head", "FC"):
        spec["init_std"] = start["std"]
    else:
        reader.note(f"{where}.initializer", "our own initial values are used")


def sampler_spec(reader: Reader, values: dict[str, Any], where: str) -> Spec | None:
    """Our sampler; None where there is none."""
    name = str(values.get("name") or "BatchSampler")
    takes = isinstance(row := tables()["samplers"].get(name), list) and row[1]
    made = reader.component("sampler", "samplers", name, values if takes else None, where)
    if made is None:
        return None
    spec, found = made
    if spec["name"] == "pk" and "per_identity" not in spec:
        each = "sample_per_id" if name == "PKSampler" else "num_instances"
        reader.wrong(f"{where}.{each}", "is needed")
    if name == "PKSampler":
        spec["keep_last"] = not found["drop_last"]
        bounds, ratio = found.get("id_list", []), found.get("ratio", [])
        if len(bounds) != 2 * len(ratio):
            reader.wrong(f"{where}.id_list", f"{len(bounds)} bounds for {len(ratio)} ratios")
        pairs = zip(bounds[::2], bounds[1::2], ratio, strict=False)
        spec["boost"] = [[first, last, factor] for first, last, factor in pairs]
    return spec


def retrieval_metric(reader: Reader, listed: Any, common: dict[str, Any]) -> list[Spec]:
    """The metrics of `Metric.Eval` as one of ours, which counts as PaddleClas does."""
    measures, numbers = list[str](), list[int]()
    for where, name, arguments in reader.items(listed, "Metric.Eval"):
        made = reader.component("metric", "metrics", name, arguments, where)
        if made and made[0]["name"] not in MEASURES:
            hint = f"one of {', '.join(MEASURES.values())}"
            reader.wrong(where, "is not for eval_mode: retrieval", hint)
        elif made:
            measures.append(made[0]["name"])
            numbers += made[1].get("topk", [])
    spec: Spec = {"name": "retrieval", "measures": measures or ["recall"]}
    spec["k"] = list(dict.fromkeys(numbers)) or [1, 5]
    spec |= {"rerank": common["re_ranking"], "masked": "zero", "ranks_from_zero": True}
    spec["average_blocks"] = common["sim_block_size"]
    if binarize := common.get("feature_binarize"):
        spec["binarize"] = binarize
    if not common["feature_normalize"] and binarize != "sign":
        what, hint = "embeddings have length 1 here", "leave it out, or compare signs"
        reader.wrong("Global.feature_normalize", what, hint)
    what = "counts as PaddleClas does: what is excluded has a similarity of 0, mINP counts ranks from 0; see docs"
    reader.note("Metric.Eval", what)
    return [spec]
