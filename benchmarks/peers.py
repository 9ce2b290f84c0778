"""The same images and weights through PaddleClas, a plain script, and tinysight, in turns.

    python benchmarks/peers.py [--images FOLDER] [--rounds 5] [--json FILE] [--page docs/speed.md]

PaddleClas is PaddleClas' `predict_cls.py` with Paddle Inference and oneDNN, in an environment of
its own that this command makes under the cache folder (2 GB, minutes, the first time). It exports a
PP-LCNet x1.0; tinysight imports that export, and the plain script (`naive.py`) runs the network of
the imported bundle. Answers are compared before anything is timed; the bundle gets an int8 variant
and the leave to decode reduced as a user's would: if its labels bear them.

Cases: one image in a cold process; 250 mixed JPEGs; 1080p; 12 megapixels. Every program is a
whole process; the cost per image is what more images add to it: (T(all) - T(one)) / (all - one).
Programs take turns, in another order each round. The table has medians, and the median and quartiles
of how many times faster a program was in a round than the plain script, and than PaddleClas at the
batch size that suits it best.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import tinysight
from predict import SAMPLES, SCRIPT, make_images
from tinysight.bundle import MODEL, Bundle
from tinysight.concurrency import usable_cores
from tinysight.errors import TinysightError
from tinysight.files import write_atomic
from tinysight.pipelines.bench import Watched, watch
from tinysight.pipelines.latency_card import machine
from tinysight.transforms import decode

REQUIREMENTS = ("paddlepaddle==3.3.1", "paddleclas==2.6.0", "setuptools<81")
HERE = Path(__file__).resolve().parent
OURS = "tinysight, ONNX Runtime f32"
SCRIPT_BY_HAND = "plain script"
FASTER = "times faster than the script | than PaddleClas at its best"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
CONFIG = """
Global:
  infer_imgs: {images}
  inference_model_dir: {model}
  batch_size: {batch}
  use_gpu: false
  enable_mkldnn: true
  cpu_num_threads: {threads}
  use_fp16: false
  ir_optim: true
  use_tensorrt: false
  enable_profile: false
PreProcess:
  transform_ops:
    - ResizeImage: {{resize_short: 256}}
    - CropImage: {{size: 224}}
    - NormalizeImage:
        {{scale: 0.00392157, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: '', channel_num: 3}}
    - ToCHWImage:
PostProcess:
  main_indicator: Topk
  Topk: {{topk: 1, class_id_map_file: null}}
"""
Command = list[str]
Times = dict[str, dict[str, list[Watched]]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse(arguments)
    found = again(Path(args.times)) if args.times else measured(args)
    print(found["table"])
    if args.json:
        write_atomic(Path(args.json), json.dumps(found, indent=1) + "\n")
    if args.page:
        rewrite(Path(args.page), found["table"])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", default=str(SAMPLES), help="folder of photographs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=250, help="mixed JPEGs")
    parser.add_argument("--large", type=int, default=64, help="images of 1080p; of 12 MP a third")
    parser.add_argument("--no-reference", action="store_true", help="without PaddleClas")
    parser.add_argument("--cache", default=str(Path.home() / ".cache" / "tinysight" / "peers"))
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--times", metavar="FILE", help="take the figures of an earlier --json")
    parser.add_argument("--page", metavar="FILE", help="rewrite the table of a page")
    return parser.parse_args(arguments)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """All figures and their table."""
    compileall.compile_dir(Path(tinysight.__file__).parent, quiet=1)  # as an installer does
    python = environment(Path(args.cache))
    model = reference_model(Path(args.cache), python)
    with tempfile.TemporaryDirectory(prefix="tinysight-peers-") as scratch:
        work = Path(scratch)
        bundle = faster(imported(model, work / "bundle"), args.images, work / "admitting")
        folders = images(args.images, work, args.count, args.large)
        programs = every_program(bundle, model, python, work, args.no_reference)
        check(programs, folders["mixed"])
        times = in_turns(programs, folders, args.rounds)
    rows = {
        case: {p: [w._asdict() for w in ws] for p, ws in by.items()} for case, by in times.items()
    }
    counts = {name: len(paths) for name, paths in folders.items()}
    where = machine()
    found = {"machine": where, "counts": counts, "times": rows}
    return {**found, "table": table(times, counts, where)}


def again(path: Path) -> dict[str, Any]:
    """The figures of an earlier `--json`, and their table."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    times = {
        case: {name: [Watched(**w) for w in ws] for name, ws in by.items()}
        for case, by in found["times"].items()
    }
    return {**found, "table": table(times, found["counts"], found["machine"])}


def environment(cache: Path) -> Path:
    """PaddleClas' Python, made on the first call."""
    key = hashlib.sha256(" ".join((*REQUIREMENTS, sys.version)).encode()).hexdigest()[:8]
    folder = cache / key
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(REQUIREMENTS)} into {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        (folder / "ready").touch()
    return python


def reference_model(cache: Path, python: Path) -> Path:
    """The exported network."""
    script = HERE / "peers_reference.py"
    folder = cache / f"model-{hashlib.sha256(script.read_bytes()).hexdigest()[:8]}"
    if not (folder / "inference.pdiparams").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run([str(python), str(script), str(folder)])
    return folder


def imported(model: Path, out: Path) -> Bundle:
    """The export as a bundle; scale and transforms are those of `CONFIG`."""
    from tinysight.compat.paddle.bundle import import_paddle

    return import_paddle(model, out).bundle


def faster(bundle: Bundle, source: str, work: Path) -> Bundle:
    """The bundle with what its labels bear: an int8 variant, and JPEGs that are decoded reduced."""
    from tinysight.export.variants import add_variants, find_images
    from tinysight.pipelines.reduced_decode import is_acceptable, measure, write_reduced_decode

    work.mkdir()
    paths = make_images(source, work, 2600)  # two fifths of them are large enough
    found = measure(bundle, paths, margin=1)
    print(f"reduced decoding: {found}", file=sys.stderr)
    if is_acceptable(found):
        bundle = write_reduced_decode(bundle, found)
    labels = len(bundle.manifest.labels)
    if importable("openvino"):
        try:
            bundle = add_variants(bundle, ["openvino"], find_images(work, labels), precision="int8",
                                 calibrate=find_images(source, labels, 128))  # fmt: skip
            print(f"int8: {bundle.manifest.variants['openvino-int8']}", file=sys.stderr)
        except TinysightError as error:
            print(f"int8 is left out: {error}", file=sys.stderr)
    return bundle


def images(source: str, work: Path, count: int, large: int) -> dict[str, list[str]]:
    """Files of each case; the first of each is also its single image."""
    (work / "mixed").mkdir()
    found = {"mixed": make_images(source, work / "mixed", count)}
    originals = [decode(p) for p in found["mixed"][3::5][:8]]  # the 1080p ones
    for name, (width, height), number in (
        ("1080p", (1920, 1080), large),
        ("12 MP", (4000, 3000), max(2, large // 3)),
    ):
        folder = work / name.replace(" ", "")
        folder.mkdir()
        found[name] = []
        for i in range(number):
            image = cv2.resize(
                originals[i % len(originals)], (width, height), interpolation=cv2.INTER_CUBIC
            )
            image = np.roll(image, 37 * i, axis=1)
            path = str(folder / f"{i:03d}.jpg")
            cv2.imwrite(
                path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
            )
            found[name].append(path)
    return found


Program = Any  # (paths, folder or None) -> command


def every_program(
    bundle: Bundle, model: Path, python: Path, work: Path, no_reference: bool
) -> dict[str, Program]:
    """Name to what makes the command for some files, or for a whole folder of them."""
    labels = ",".join(bundle.manifest.labels)
    network = str(bundle.folder / MODEL)
    cores = usable_cores()

    def naive(paths: list[str], folder: str | None) -> Command:
        return [sys.executable, str(HERE / "naive.py"), network, labels, "bilinear", *paths]

    def ours(*options: str) -> Program:
        def command(paths: list[str], folder: str | None) -> Command:
            where = [folder] if folder else paths
            return [sys.executable, "-c", SCRIPT, "predict", *where, "--model",
                    str(bundle.folder), "--topk=1", "--json", *options]  # fmt: skip

        return command

    def reference(batch: int) -> Program:
        def command(paths: list[str], folder: str | None) -> Command:
            text = CONFIG.format(images=folder or paths[0], model=model, batch=batch, threads=cores)
            path = work / f"reference-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
            path.write_text(text)
            return [str(python), str(HERE / "peers_predict.py"), "-c", str(path)]

        return command

    programs = {OURS: ours("--exact"), SCRIPT_BY_HAND: naive}
    if importable("openvino"):
        programs["tinysight, OpenVINO f32"] = ours("--exact", "--engine=openvino")
    if bundle.manifest.decode:
        programs["tinysight, ONNX Runtime f32, reduced decoding"] = ours()
    if "openvino-int8" in bundle.manifest.variants:
        options = "--engine=openvino-int8"
        programs["tinysight, OpenVINO int8"] = ours("--exact", options)
        if bundle.manifest.decode:
            programs["tinysight, OpenVINO int8, reduced decoding"] = ours(options)
    if not no_reference:
        programs |= {f"PaddleClas, batch {b}": reference(b) for b in (1, 8, 32)}
    return programs


def importable(name: str) -> bool:
    """Whether a package is installed."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


def check(programs: dict[str, Program], paths: list[str]) -> None:
    """Exit unless tinysight and the plain script agree on 20 images and PaddleClas predicts them."""
    some = paths[:20]
    by_hand = [line.split("\t") for line in run(programs[SCRIPT_BY_HAND](some, None)).splitlines()]
    answers = [json.loads(line) for line in run(programs[OURS](some, None)).splitlines()]
    for (path, label, score), answer in zip(by_hand, answers, strict=True):
        close = abs(float(score) - answer["scores"][0]) < 1e-4
        if not close or answer["label_names"] != [label] or answer["filename"] != path:
            sys.exit(f"the two disagree: {path} {label} {score}, {answer}")
    for name, program in programs.items():
        if name.startswith("PaddleClas"):
            said = run(program(some[:1], None))
            wanted = f"class id(s): [{answers[0]['class_ids'][0]}], score(s): [{answers[0]['scores'][0]:.2f}]"
            if wanted not in said:
                sys.exit(f"{name} answers otherwise: {said}, expected {wanted}")


def in_turns(programs: dict[str, Program], folders: dict[str, list[str]], rounds: int) -> Times:
    """Every program on every case, `rounds` times, in another order each; one round goes before."""
    cases: dict[str, tuple[list[str], str | None]] = {"one": (folders["mixed"][:1], None)}
    for name, paths in folders.items():
        cases[name] = (paths, str(Path(paths[0]).parent))
        cases[f"{name}, one"] = (paths[:1], None)
    del cases["mixed, one"]
    times: Times = {case: {name: [] for name in programs} for case in cases}
    order = list(programs)
    for turn in range(rounds + 1):
        random.Random(turn).shuffle(order)
        for case, (paths, folder) in cases.items():
            for name in order:
                if case.split(",")[0] in ("1080p", "12 MP") and name == "PaddleClas, batch 32":
                    continue
                watched = watch(programs[name](paths, folder))
                if turn:
                    times[case][name].append(watched)
    return times


def table(times: Times, counts: dict[str, int], where: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "One image, whole process, cold:", "",
        f"| program | wall | processor | memory | {FASTER} |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    walls = {name: [w.seconds * 1e3 for w in ws] for name, ws in times["one"].items()}
    for name, watched in times["one"].items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*watched, strict=True))
        lines.append(
            f"| {name} | {wall * 1e3:.0f} ms | {cpu * 1e3:.0f} ms | {peak:.0f} MiB "
            f"| {compared(walls, name)} |"
        )
    for case, count in counts.items():
        single = times["one" if case == "mixed" else f"{case}, one"]
        lines += ["", f"{count} images, {case}; milliseconds each beyond the first:", "",
                  f"| program | wall | processor | {FASTER} |", "|---|---|---|---|---|"]  # fmt: skip
        there = {name: watched for name, watched in times[case].items() if watched}
        walls = {name: each(w, single[name], count, "seconds") for name, w in there.items()}
        for name, watched in there.items():
            cpu = statistics.median(each(watched, single[name], count, "cpu_seconds"))
            lines.append(
                f"| {name} | {statistics.median(walls[name]):.2f} | {cpu:.2f} | {compared(walls, name)} |"
            )
    lines += ["", f"{where['processor']}, {where['cores']} cores, {where['system']}; medians of "
              f"{len(times['one'][OURS])}; times: median (quartiles) over the rounds."]  # fmt: skip
    return "\n".join(lines)


def compared(walls: dict[str, list[float]], name: str) -> str:
    """Two cells: how much less wall time than the script, and than PaddleClas at its best."""
    references = [n for n in walls if n.startswith("PaddleClas")]
    best = min(references, key=lambda n: statistics.median(walls[n]), default=None)
    cells = []
    for peer in (SCRIPT_BY_HAND, best):
        pairs = zip(walls.get(peer or "", ()), walls[name], strict=False)
        cells.append(spread([theirs / own for theirs, own in pairs]) if peer else "")
    return " | ".join(cells)


def each(many: list[Watched], one: list[Watched], count: int, what: str) -> list[float]:
    """Milliseconds that each image after the first adds."""
    first = statistics.median(getattr(w, what) for w in one)
    return [(getattr(w, what) - first) / (count - 1) * 1e3 for w in many]


def spread(ratios: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def rewrite(page: Path, text: str) -> None:
    """Put the table between the page's two marks."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomic(page, f"{before}{BEGIN}\n{text}\n{END}{after}")


def run(command: Command) -> str:
    """What a command prints; exits with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
