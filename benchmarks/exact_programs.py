"""Run by a Python that has Paddle, PaddleClas 2.6 and pytest: the programs' logits in double precision.

    PYTHON benchmarks/exact_programs.py GOLDEN_FOLDER OUT.npz

Each classifier of the recorded programs is built by PaddleClas, filled with the recorded weights, and run in float64
on the recorded input. What an implementation in float32 is away from these numbers is rounding; in float64 nothing is
left.
The one program that was put together by hand belongs to no network and is left out.
"""

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import paddle
from paddleclas.ppcls.arch import backbone

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.golden import cases, synth, synth_input


def weights(case):
    """The recorded weights by their names in the network."""
    constants = {}
    if (case.folder / "constants.npz").is_file():
        with np.load(case.folder / "constants.npz") as data:
            constants = {key: data[key] for key in data.files}
    legacy = "records" not in case
    found = {}
    for internal, name, shape, _, source in case["records_legacy" if legacy else "records"]:
        if source != "constants":
            found[name] = synth(name, tuple(shape)) * np.float32(source)
        elif name:
            key = f"legacy|{internal}" if legacy and f"legacy|{internal}" in constants else internal
            found[name] = constants[key]
    return found


def logits(case):
    """(N, K) float64."""
    paddle.set_default_dtype("float64")
    network = getattr(backbone, case["network"])(class_num=case["class_num"], **case["arguments"])
    for part in network.sublayers():
        if hasattr(part, "re_parameterize"):
            part.re_parameterize()
    tables = {
        (part, key): value.clone()
        for part in network.sublayers(include_self=True)
        for key, value in part._buffers.items()
        if value is not None and not value.is_floating_point()
    }
    network.to(dtype="float64")
    for (part, key), value in tables.items():  # `to` has made them float64, too
        part._buffers[key] = value
    given, own = weights(case), network.state_dict()
    state = {
        name: paddle.to_tensor(value.astype(own[name].numpy().dtype))
        for name, value in given.items()
        if name in own
    }
    for name in own.keys() - given.keys():  # a table that the program holds gathered
        value = synth(name, tuple(own[name].shape))
        if value is not None:
            state[name] = paddle.to_tensor(value.astype(own[name].numpy().dtype))
    gathered = {r[1] for r in case.get("records", ()) if r[4] == "constants"}
    if missing := given.keys() - own.keys() - gathered:
        raise ValueError(f"{case['id']}: no place for {sorted(missing)}")
    network.set_state_dict(state)
    network.eval()  # not before: it gathers tables once
    n, _, height, width = case["input"]
    with paddle.no_grad():
        images = paddle.to_tensor(synth_input(n, height, width).astype(np.float64))
        return network(images).numpy()


def main():
    """Write the logits of each case under its name, of those that are not in the file yet."""
    out = Path(sys.argv[2])
    found = dict(np.load(out)) if out.is_file() else {}
    for case in cases("programs", folder=Path(sys.argv[1])):
        if case["id"] in found or "logits" not in case.arrays:
            continue
        if hasattr(backbone, case["network"]):
            with multiprocessing.Pool(1) as alone:  # networks share names of parameters
                found[case["id"]] = alone.apply(logits, [case])
            recorded = case.arrays["logits"]
            away = np.abs(found[case["id"]] - recorded).max() / recorded.std()
            np.savez_compressed(out, **found)
            sys.stderr.write(f"{case['id']}: the recording is {away:.1e} away" + "\n")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
