"""`Global`, `AMP` and `EMA`: the run as a whole. And the sections of what is not available."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.rules import (
    RECOGNITION,
    Dead,
    Key,
    Only,
    Quiet,
    Reader,
    Refused,
    Table,
    put,
)
from tinysight.compat.paddle.dialect.values import flag, integer, number, one_of, several, text

_NO_INTERVAL = Quiet("the last and the best checkpoint are kept; one of each epoch is not")
_LOG = Quiet("how often a line is logged")
_GRAPH = Quiet("a way to run the same network")
_SEMI = Refused("semi-supervised training is not available")


def _seed(value: Any) -> int:
    return 0 if value is False else integer(value)


GLOBAL: Table = {
    "checkpoints": Key(text),
    "pretrained_model": Key(text),
    "output_dir": Key(text, "", "./output/"),
    "device": Key(one_of(cpu="cpu", gpu="gpu"), "", "gpu"),
    "epochs": Key(integer, "train.epochs"),
    "eval_during_train": Key(flag, "", True),
    "eval_interval": Key(integer, "", 1),
    "start_eval_epoch": Key(integer, "", 0),
    "update_freq": Key(integer, "train.accumulate"),
    "seed": Key(_seed),
    "use_multilabel": Key(flag, "", False),
    "image_shape": Key(several(integer, 3)),
    "save_inference_dir": Key(text, "", "./inference"),
    "save_interval": _NO_INTERVAL,
    "print_batch_step": _LOG,
    "log_ranks": _LOG,
    "print_mem_info": _LOG,
    "use_visualdl": Quiet("metrics.jsonl and the report hold the curves"),
    "to_static": _GRAPH,
    "use_dali": Quiet("another loader of the same images"),
    "uniform_output_enabled": Quiet("another layout of the same files"),
    "export_for_fd": Quiet("a bundle carries its configuration"),
    "pdx_model_name": Quiet("a name for another program"),
    "hpi_config_path": Quiet("a setting of another program"),
    "infer_imgs": Quiet("read by the deployment scripts alone"),
    "eval_mode": Only(("classification",), RECOGNITION),
    "train_mode": Refused("only the plain training loop is available (progressive, fixmatch, metabin are not)"),
    "iter_per_epoch": Refused("an epoch is once through the list"),
    "warmup_iter": Refused(RECOGNITION),
    "retrieval_feature_from": Refused(RECOGNITION),
    "re_ranking": Refused(RECOGNITION),
    "feature_normalize": Refused(RECOGNITION),
    "feature_binarize": Refused(RECOGNITION),
    "sim_block_size": Refused(RECOGNITION),
    "class_num": Key(integer),
    "image_channel": Dead("no code reads it; the images have three channels"),
}  # fmt: skip

AMP: Table = {
    "use_amp": Key(flag, "", True),  # the section alone switches it on
    "level": Quiet("O1 and O2 are both mixed precision with float32 weights here"),
    "scale_loss": Quiet("the scale of the loss is found by itself"),
    "use_dynamic_loss_scaling": Quiet("the scale of the loss is found by itself"),
    "use_fp16_test": Quiet("evaluation is in float32"),
    "use_promote": Quiet("a setting of its framework's casts"),
}

EMA: Table = {"decay": Key(number, "decay", 0.9999)}

SECTIONS: Table = {
    "Slim": Refused("quantisation and pruning in training are not available"),
    "SSL": _SEMI,
    "UnLabelLoss": _SEMI,
    "MLDecoder": Refused("the ML-Decoder head is not available"),
}
KNOWN = (
    "Global",
    "Arch",
    "Loss",
    "Optimizer",
    "DataLoader",
    "Metric",
    "Infer",
    "AMP",
    "EMA",
    *SECTIONS,
)


class Run(NamedTuple):
    """What a command needs besides the recipe; paths as they are written."""

    network: str
    output_dir: str
    device: str
    checkpoints: str | None
    pretrained_model: str | None
    save_inference_dir: str


def run_section(reader: Reader, tree: dict[str, Any], native: dict[str, Any]) -> dict[str, Any]:
    """Write `Global`, `AMP` and `EMA`; returns the values of `Global`."""
    found = reader.section(tree.get("Global"), "Global", GLOBAL, native)
    if "epochs" not in found:
        reader.wrong("Global.epochs", "is needed")
    epochs = max(found.get("epochs", 1), 1)
    every = found["eval_interval"] if found["eval_during_train"] else epochs
    put(native, "train.eval_every", max(every, 1))
    put(native, "train.eval_from", min(max(found["start_eval_epoch"], 1), epochs))
    if not found["eval_during_train"]:
        reader.note("Global.eval_during_train", "the last epoch is evaluated all the same")
    if found.get("seed"):  # `False` reads as 0
        put(native, "train.seed", found["seed"])
    if "class_num" in found:
        reader.note("Global.class_num", "stands for Arch.class_num")
        tree.setdefault("Arch", {}).setdefault("class_num", found["class_num"])
    if "AMP" in tree and reader.section(tree["AMP"], "AMP", AMP).get("use_amp"):
        put(native, "train.precision", "fp16")
    if "EMA" in tree:
        ema: dict[str, Any] = {"warmup": False}
        reader.section(tree["EMA"], "EMA", EMA, ema)
        put(native, "train.ema", ema)
    return found
