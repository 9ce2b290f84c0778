"""Label images with a bundle.

    tinysight predict photo.jpg holiday/ --model clarity_assessment
    tinysight predict 'scans/**/*.png' --model runs/mine/bundle --csv --output labels.csv
    tinysight predict --model_name=safety_helmet --infer_imgs=photo.jpg
    tinysight predict -c inference_cls.yaml -o Global.inference_model_dir=... -o Global.infer_imgs=...
    tinysight predict -c inference_general.yaml -o IndexProcess.index_dir=... -o Global.infer_imgs=...

A name that is no local bundle is looked up among the public models (`tinysight models list`), and
fetched into the cache once. TINYSIGHT_OFFLINE=1 forbids that. Results come in the order of the
images. Unreadable images are named on stderr, and the exit code is then 1. After an interruption
the same command with `--output` and `--json` or `--csv` resumes, unless it also makes copies of images.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.cli.arguments import add_engine, add_plugin
from tinysight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.bundle.manifest import Manifest
    from tinysight.cli.output import Output
    from tinysight.cli.progress import ProgressLine
    from tinysight.pipelines.pipeline import BundlePipeline
    from tinysight.pipelines.sources import ImageInput

_FORMATS = (".jsonl", ".json", ".csv", ".parquet")
# Arguments of PaddleClas' command that have no spelling of ours; `compat` says what each means.
_PADDLECLAS = (
    *("inference_model_dir", "class_id_map_file", "cpu_num_threads", "resize_short", "crop_size"),
    *(
        "color_threshold",
        "type_threshold",
        "predict_type",
        "build_gallery",
        "index_dir",
        "data_file",
        "gallery_image_root",
        "gallery_data_file",
    ),
    *("use_gpu", "gpu_mem", "enable_mkldnn", "use_tensorrt", "use_fp16"),
)
_OPTIONS = ("batch_size", "threads", "workers", "engine", "precision", "exact", "topk", "threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments; the spellings with underscores are those of PaddleClas."""
    add = parser.add_argument
    add("source", nargs="*", metavar="SOURCE", help="image, folder, 'pattern*', or list (.txt)")
    add("--infer_imgs", metavar="SOURCE", help="one more source")
    text = "bundle folder, shipped bundle's name, or public model"
    add("--model", "--model_name", "--bundle", metavar="NAME|FOLDER", help=text)
    text = "PaddleClas deploy configuration; output as PaddleClas prints it"
    add("-c", "--config", metavar="YAML", help=text)
    text = "change a value of the configuration; may be repeated"
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help=text)
    add("--root", metavar="FOLDER", help="images' folder (default: the list's)")
    add("--batch-size", "--batch_size", type=int, default=1, metavar="N", help="images per batch")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads per inference call")
    text = "images in parallel (default: one per processor)"
    add("--workers", type=int, metavar="N", help=text)
    add_engine(parser)
    add_plugin(parser)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--topk", type=int, metavar="K", help="the K highest-scoring classes")
    choice.add_argument("--threshold", type=float, metavar="P", help="instead of the bundle's own")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per image")
    form.add_argument("--csv", action="store_true", help="print a table with a header")
    add("--output", metavar="FILE", help="file for the results; renamed when complete")
    add("--draw", metavar="FOLDER", help="folder for copies of the images with their boxes")
    add("--on", choices=["ray"], help="use a Ray cluster; the format is --output's suffix")
    add("--shard", type=int, default=1000, metavar="N", help="images per shard of --on (1000)")
    text = "images may be https addresses, of up to 32 MiB each"
    add("--allow-urls", "--allow_urls", action="store_true", help=text)
    text = "copy each image to DIR/<class id>, as PaddleClas' pre-labelling"
    add("--save_dir", metavar="DIR", help=text)
    for name in _PADDLECLAS:
        add(f"--{name}", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Predict; 1 if an image could not be read, else 0."""
    with ExitStack() as args.open:
        return _predict(args)


def _predict(args: argparse.Namespace) -> int:
    if (code := _recognised(args)) is not None:
        return code
    bundle, images = _opened(args)
    from tinysight.pipelines.pipeline import open_bundle
    from tinysight.tasks.postprocess import result_type
    from tinysight.tasks.results import BoxResult

    options = {name: getattr(args, name) for name in _OPTIONS}
    if args.csv and not result_type(bundle.manifest.postprocess).table:
        kind = bundle.manifest.postprocess["name"]
        raise ConfigError("--csv", f"the results of this bundle are its {kind}", "use --json")
    if args.draw and (args.on or result_type(bundle.manifest.postprocess) is not BoxResult):
        hint = "leave --on out" if args.on else "it is for detectors"
        raise ConfigError("--draw", "there are no boxes to draw here", hint)
    if args.save_dir and args.on:
        raise ConfigError("--save_dir", "images are not copied on a cluster", "leave --on out")
    if args.on:
        total, failed = _on_ray(args, bundle, options, images)
    else:
        pipeline = open_bundle(bundle, **options)
        # What is imported from here on is imported while the session is opened.
        from tinysight.cli.output import opened

        form = "json" if args.json else "csv" if args.csv else "deploy" if args.config else "text"
        after = _after(args)  # which a run that is resumed would leave out for what is done
        key = None if after else lambda: _key(args, bundle.manifest)
        with opened(args.output, form, key) as out:
            _write_all(pipeline, out.pending(images), out, _progress(args, out.done), after)
        total, failed = out.done, out.failed
    if failed:
        print(f"{failed} of {total} images could not be read", file=sys.stderr)
    return int(failed > 0)


def _recognised(args: argparse.Namespace) -> int | None:
    """What arguments and configurations of PP-ShiTu ask for, done; None where there are none."""
    asked = str(args.build_gallery).lower()
    if asked not in ("true", "false", "none"):
        raise ConfigError("--build_gallery", f"expected True or False, got {args.build_gallery!r}")
    build = asked == "true"
    if not (build or args.config or args.predict_type == "shitu"):
        return None
    from tinysight.foreign import is_system

    if args.config and not is_system(args.config):
        return None
    from tinysight.compat.paddle.shitu import read_package

    given = {name: value for name in _PADDLECLAS if (value := getattr(args, name)) is not None}
    config = read_package(args.config, {**given, "model_name": args.model}, args.override)
    if config is None or not (build or config.gallery or (config.detector and config.embedder)):
        return None
    from tinysight.cli.recognize import run_paddleclas

    return run_paddleclas(args, config, build)


def _opened(args: argparse.Namespace) -> tuple[Bundle, Iterator[ImageInput]]:
    """The bundle and the unread images; mistakes in their names are met here."""
    from tinysight.bundle import Bundle, is_local, list_bundles
    from tinysight.concurrency import Deferred

    configured = _configured(args)
    if args.infer_imgs:
        args.source.append(args.infer_imgs)
    if not args.source:
        raise DataError("SOURCE", "no image given", "tinysight predict IMAGE --model NAME")
    if not args.model and not configured:
        known = ", ".join(list_bundles()) or "none came with this installation"
        raise ConfigError("--model", "which bundle?", f"a folder, or one of: {known}")
    local = args.model and is_local(args.model)  # read and hashed beside the imports
    loading = Deferred(lambda: Bundle.load(args.model)) if local else None
    import tinysight.pipelines.pipeline  # noqa: F401 - what most bundles need
    from tinysight.pipelines.sources import iter_images, one_image

    sources = _downloaded(args)
    there = any(Path(source).exists() for source in sources)  # then one that is not is unreadable
    images = [
        iter([one_image(source)])
        if there and _is_missing(source)
        else iter_images(source, root=args.root)
        for source in sources
    ]
    bundle = configured or (loading.result() if loading else Bundle.load(_fetched(args.model)))
    return bundle, chain.from_iterable(images)


def _is_missing(source: str) -> bool:
    """Whether `source` names an image that is not there."""
    named = Path(source).suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".webp")
    return named and not set("*?[") & set(source) and not Path(source).exists()


def _on_ray(
    args: argparse.Namespace, bundle: Bundle, options: dict[str, Any], images: Iterator[ImageInput]
) -> tuple[int, int]:
    """By many processes or machines; the numbers of images and of those that could not be read."""
    from tinysight.batch.on_ray import predict_shards
    from tinysight.batch.shards import run

    output = _table(args, bundle.manifest)
    if args.shard < 1:
        raise ConfigError("--shard", f"should be 1 or more, got {args.shard}")
    bar = _progress(args, 0)
    predict, names = partial(predict_shards, bundle, options), (image.name for image in images)
    key, reach = _key(args, bundle.manifest), bar.reach if bar else lambda done: None
    try:
        return run(names, output, key, args.shard, predict, reach)
    finally:
        if bar:
            bar.clear()


def _table(args: argparse.Namespace, manifest: Manifest) -> Path:
    """The file for the results; its suffix decides their format, as far as `--json` or `--csv` does not."""
    from tinysight.tasks.postprocess import result_type

    if not args.output:
        raise ConfigError("--on", "needs a file for the results", "add --output results.jsonl")
    file = Path(args.output)
    if file.suffix not in _FORMATS:
        raise ConfigError("--output", f"{file.name}: which form?", f"one of {', '.join(_FORMATS)}")
    if (args.csv and file.suffix != ".csv") or (args.json and "json" not in file.suffix):
        raise ConfigError("--output", f"{file.name} is not of the requested format")
    if not result_type(manifest.postprocess).table and "json" not in file.suffix:
        what = f"the results of this bundle are its {manifest.postprocess['name']}"
        raise ConfigError("--output", what, "use .jsonl")
    return file


def _write_all(
    pipeline: BundlePipeline[Any], images: Iterator[ImageInput], out: Output,
    bar: ProgressLine | None, after: Sequence[Callable[[Any], object]] = (),
) -> None:  # fmt: skip
    from tinysight.tasks.results import Unreadable

    try:
        for item in pipeline.stream(images):
            if not gc.isenabled():
                gc.freeze()  # what is loaded by now is not looked through again, not even at exit
                gc.enable()
            if isinstance(item, Unreadable):
                if bar:
                    bar.clear()
                print(f"{item.filename}: {item.reason}", file=sys.stderr)
            out.write(item)
            for act in () if isinstance(item, Unreadable) else after:
                act(item)
            if bar:
                bar.step()
    except KeyboardInterrupt:
        if out.part:
            text = f"\n{out.done} images are done, in {out.part}; the same command resumes"
            print(text, file=sys.stderr)
        raise
    finally:
        if bar:
            bar.clear()


def _after(args: argparse.Namespace) -> list[Callable[[Any], object]]:
    """What else is done with each result."""
    if not args.draw and not args.save_dir:
        return []
    from tinysight.pipelines.draw import Drawings, Sorted

    found: list[Callable[[Any], object]] = [Drawings(args.draw).add] if args.draw else []
    return [*found, Sorted(args.save_dir).add] if args.save_dir else found


def _key(args: argparse.Namespace, manifest: Manifest) -> str:
    """Eight letters for what determines the results and their order."""
    import hashlib
    import json

    options = (args.topk, args.threshold, args.engine, args.precision, args.exact, args.root)
    text = json.dumps([manifest.to_text(), args.csv, options, args.source])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _progress(args: argparse.Namespace, done: int) -> ProgressLine | None:
    """A bar, where there is a terminal that does not show the results themselves."""
    if not sys.stderr.isatty() or (args.output is None and sys.stdout.isatty()):
        return None
    from tinysight.cli.progress import ProgressLine
    from tinysight.pipelines.sources import count

    def total() -> int | None:
        counts = [count(source, root=args.root) for source in args.source]
        return None if None in counts else sum(filter(None, counts))

    return ProgressLine(total, sys.stderr, done=done)


def _downloaded(args: argparse.Namespace) -> list[str]:
    """The sources; for addresses files, which lie there until the command is over."""
    if not any("://" in source for source in args.source):
        return list(args.source)
    from tinysight.compat.paddle.command import downloaded

    keep, allowed = args.open.enter_context, args.allow_urls
    return [keep(downloaded(s, allowed)) if "://" in s else s for s in args.source]


def _configured(args: argparse.Namespace) -> Bundle | None:
    """The network of a deploy configuration, which also says what `args` leaves open; or of PaddleClas' arguments."""
    given = {name: value for name in _PADDLECLAS if (value := getattr(args, name)) is not None}
    if args.model and not args.config and _is_export(args.model):
        given["inference_model_dir"], args.model = args.model, None
    if args.override and not (args.config or args.model or given):
        raise ConfigError("-o", "there is no configuration to change", "add -c YAML")
    if not args.config and (given or args.override):
        from tinysight.compat.paddle.command import configured_bundle

        named = {"model_name": args.model} if args.model else {}
        bundle, size, args.threads = configured_bundle({**given, **named}, args.override)
        args.batch_size = max(args.batch_size, size)
        return bundle
    if not args.config:
        return None
    if given:
        raise ConfigError(f"--{next(iter(given))}", "is for a model without -c", "-o KEY=VALUE")
    if args.model:
        raise ConfigError("--model", "-c names the network", "-o Global.inference_model_dir=...")
    from tinysight.compat.paddle.deploy_run import deployed_bundle, read_deploy_run
    from tinysight.foreign import is_system

    if is_system(args.config):
        from tinysight.compat.paddle.shitu import part_of, read_shitu

        if shitu := read_shitu(args.config, args.override):
            args.infer_imgs = args.infer_imgs or (None if args.source else shitu.images)
            args.batch_size = max(args.batch_size, shitu.batch_size)
            args.threads = max(args.threads, shitu.threads)
            return part_of(shitu)
    run = read_deploy_run(args.config, args.override)
    if not args.source and not args.infer_imgs:
        args.infer_imgs = run.images
    args.batch_size = max(args.batch_size, run.batch_size)
    args.threads = max(args.threads, run.threads)
    return deployed_bundle(run)


def _is_export(model: str) -> bool:
    """Whether `model` is a folder as PaddleClas exports it, which is translated on the way."""
    names = ("inference.pdmodel", "inference.json", "inference.onnx")
    return any((Path(model) / name).is_file() for name in names)


def _fetched(name: str) -> str:
    """A public model becomes a bundle in the cache, unless it is there already."""
    from tinysight.cli.progress import download_progress
    from tinysight.foreign import find_bundle

    with download_progress(name) as report:
        return str(find_bundle(name, report))
