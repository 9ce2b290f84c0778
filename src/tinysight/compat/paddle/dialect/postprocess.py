"""`Infer` and the post-processors: what becomes of scores, and the names of the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.operators import transforms
from tinysight.compat.paddle.dialect.rules import Reader, Spec, put
from tinysight.foreign import LabelSource


def infer_section(
    reader: Reader, values: Any, native: Spec, count: int | None, file: Path, vectors: bool = False
) -> LabelSource:
    """Write `Infer`: post-processing and labels.

    Args:
        reader: collects problems and notes.
        values: the section.
        native: mapping that is written to.
        count: number of classes; None where the lists say it.
        file: the YAML file, for paths in it.
        vectors: the results are embeddings.
    """
    found = reader.section(values, "Infer", "Infer")
    post, where = found.get("PostProcess"), "Infer.PostProcess"
    spec: Spec = {"name": "embedding"} if vectors else {"name": "topk", "k": 5}
    labels: list[str] | str | None = None
    if vectors:
        if post is not None:
            reader.note(where, "an embedding is given as it is")
    elif isinstance(post, dict) and post.get("name") is not None:
        name = str(post["name"])
        if made := reader.component("post-processor", "postprocessors", name, post, where):
            spec, labels = made[0], _class_names(reader, made[1], where, count or 0, file)
    elif post is not None:
        reader.wrong(where, "expected a mapping with a name")
    put(native, "export.postprocess", spec)
    if vectors and count is not None and not native["data"].get("relabel"):
        put(native, "data.labels", count)
    elif not vectors:
        put(native, "data.labels", labels or [str(i) for i in range(count or 0)])
    prepare = transforms(reader, found.get("transforms"), "Infer.transforms")
    if prepare and prepare != native.get("transforms", {}).get("eval"):
        what = "differ from those of DataLoader.Eval; images are prepared as in the evaluation"
        reader.note("Infer.transforms", what)
    images, listed, folder = (found.get(key) for key in ("infer_imgs", "infer_list", "save_dir"))
    return LabelSource(images, listed, max(found.get("batch_size", 1), 1), folder)


def written_names(found: dict[str, Any]) -> list[str]:
    """Names of the classes that a post-processor's own keys hold; empty where they hold none."""
    if isinstance(found.get("label_list"), list):
        return [str(name) for name in found["label_list"]]
    pair = {"label_0", "label_1"} & found.keys()
    return [found.get("label_0", "0"), found.get("label_1", "1")] if pair else []


def _class_names(
    reader: Reader, found: dict[str, Any], where: str, classes: int, beside: Path
) -> list[str] | str | None:
    """Names of the classes, or the file of them; None where nothing fits."""
    names = written_names(found)
    if names and (classes == 2 or "label_list" in found):
        return names
    name = found.get("class_id_map_file")
    if not name:
        return None
    place = f"{where}.class_id_map_file"
    # The file itself, or seen from a folder that the YAML lies in: its paths start at PaddleClas' root.
    places = (Path(name), *(folder / name for folder in beside.resolve().parents))
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        reader.note(place, f"no such file ({name}), so classes are called by their ids")
        return None
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        lines = []
    if len(lines) != classes:
        counts = f"names {len(lines)} classes, Arch.class_num is {classes}"
        reader.note(place, f"{counts}; classes are called by their ids")
        return None
    if found.get("delimiter") in (None, " "):
        return str(path)
    return [line.strip().partition(found["delimiter"])[2] for line in lines]
