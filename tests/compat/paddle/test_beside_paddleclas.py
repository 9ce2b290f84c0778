"""PaddleClas itself beside us: a script changed in its import line alone, on image files of every kind.

Its package runs in an environment of its own, unchanged but for one switch: Paddle 3.3 fails on the reuse of memory
that it asks for. The switch changes what memory is reused, not what is computed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.commands import execute
from support.environments import PADDLECLAS, environment
from support.exports import export, tar_of
from support.file_server import FileServer, Page
from support.golden import own_path
from support.nasty import by_opencv, by_pillow, cloud, exif
from support.paddle import FORMS
from tinysight.compat.paddle.catalog import find

pytestmark = pytest.mark.slow
NAMES = "\n".join(f"{i} kind {i}" for i in range(10)) + "\n"
TWO = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
SCRIPT = """
{line}
import json, sys
import cv2
import numpy as np

def show(what, batches):
    for batch in batches:
        print("ROWS", json.dumps([what, batch], default=float))

ten = dict(inference_model_dir="ten", use_gpu=False, enable_mkldnn=False, cpu_num_threads=1)
named = dict(ten, class_id_map_file="names.txt")
model = PaddleClas(**named, batch_size=4, topk=3)
show("folder", model.predict(input_data="images"))
show("file", model.predict("images/plain.jpg", print_pred=True))
pixels = cv2.imread("images/plain.jpg")[:, :, ::-1]
show("array", model.predict(input_data=pixels))
show("cls", model.predict_cls("images/plain.bmp"))
show("five", PaddleClas(**named).predict("images/plain.png", predict_type="cls"))
show("larger", PaddleClas(**named, resize_short=300).predict("images/plain.png"))
show("alone", PaddleClas(**named, batch_size=1, topk=1).predict("images"))
two = dict(model_name="person_exists", use_gpu=False)
show("default", PaddleClas(**two).predict("images/plain.jpg"))
for threshold in (0.01, 0.99):
    change = ["PostProcess.ThreshOutput.threshold=%s" % threshold]
    show(threshold, PaddleClas(**two, override=change, batch_size=8).predict("images"))
"""
SWITCH = """
import runpy, sys
from paddle import inference

inference.Config.enable_memory_optim = lambda self, *on: None
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def _files(folder: Path) -> int:
    """Image files of every kind that both sides read."""
    image, large = cloud(400, 300, 1), cloud(4500, 3200, 2)
    opaque = np.dstack([image, cloud(400, 300, 3, 1)[:, :, 0]])
    inks = Image.fromarray(image).convert("CMYK")
    sixteen = image.astype(np.uint16) * 257
    files = {
        "plain.jpg": by_pillow("JPEG", image, quality=92),
        "gray.jpg": by_pillow("JPEG", image[:, :, 0], quality=92),
        "inks.jpg": by_pillow("JPEG", inks, quality=92),
        "turned.JPG": by_pillow("JPEG", image, exif=exif(6, ">")),
        "mirrored.jpeg": by_pillow("JPEG", image, exif=exif(5, "<")),
        "progressive.JPEG": by_pillow("JPEG", image, progressive=True, subsampling=0),
        "plain.png": by_pillow("PNG", image),
        "opacity.png": by_pillow("PNG", opaque),
        "palette.png": by_pillow("PNG", Image.fromarray(image).quantize(64), transparency=3),
        "sixteen.png": by_opencv(".png", sixteen),
        "gray_sixteen.png": by_opencv(".png", sixteen[:, :, 0]),
        "one_bit.png": by_pillow("PNG", Image.fromarray(image).convert("1")),
        "plain.bmp": by_pillow("BMP", image),
        "palette.bmp": by_pillow("BMP", Image.fromarray(image).quantize(64)),
        "web.png": by_pillow("WEBP", image, lossless=True),  # told by its content
        "tiny.png": by_pillow("PNG", image[:1, :1]),
        "narrow.png": by_pillow("PNG", image[:, :9]),
        "huge.jpg": by_pillow("JPEG", large, quality=90),
        "broken.jpg": b"\xff\xd8 and no more",  # passed over with a warning
    }
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return len(files) - 1


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script runs in, with what it names, and PaddleClas' own cache of public models."""
    folder = tmp_path_factory.mktemp("work")
    for form in FORMS:  # the package asks for the older form, and Paddle 3.3 reads the newer one
        export(folder / "ten", file=form)
    (folder / "names.txt").write_text(NAMES, "utf-8")
    place = folder / ".paddleclas" / "inference_model" / "PULC"
    for form in ("legacy", "pir"):
        two = own_path("pdparams", f"export_{form}", "PPLCNet_x0_25_cls2")
        shutil.copytree(two, place / "person_exists", dirs_exist_ok=True)
    assert _files(folder / "images") >= 12
    return folder


def _rows(out: str) -> list[Any]:
    return [json.loads(line[5:]) for line in out.splitlines() if line.startswith("ROWS ")]


@pytest.fixture(scope="module")
def theirs(work: Path) -> list[Any]:
    """What PaddleClas prints."""
    python = environment("paddleclas", *PADDLECLAS)
    (work / "switch.py").write_text(SWITCH, "utf-8")
    (work / "theirs.py").write_text(SCRIPT.format(line="from paddleclas import PaddleClas"))
    done = execute(
        [python, "-W", "ignore", "switch.py", "theirs.py"],
        cwd=work,
        HOME=str(work),
        PYTHONPATH=None,
    )
    assert done.code == 0, done.err[-3000:]
    return _rows(done.out)


def _by_name(rows: list[Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(str(what), row.get("filename", "")): row for what, batch in rows for row in batch}


def test_a_script_changed_in_its_import_line_gives_the_same(
    work: Path, theirs: list[Any], tmp_path: Path
) -> None:
    row = find("person_exists", "inference")
    (work / "ours.py").write_text(
        SCRIPT.format(line="from tinysight.compat.paddle import PaddleClas")
    )
    with FileServer() as server:
        body = tar_of(TWO, row.filename.removesuffix(".tar"))
        server.pages[row.urls[0].replace("https:/", "")] = Page(body)
        done = execute(
            [sys.executable, "ours.py"],
            cwd=work,
            TINYSIGHT_MIRROR=server.url,
            TINYSIGHT_OFFLINE=None,
            TINYSIGHT_CACHE=str(tmp_path),
            no_proxy="127.0.0.1",
        )
    assert done.code == 0, done.err
    assert "broken.jpg" in done.err
    ours = _rows(done.out)
    assert [what for what, _ in ours] == [what for what, _ in theirs]
    found, expected = _by_name(ours), _by_name(theirs)
    assert found.keys() == expected.keys()
    # Both round to five decimals.
    for place, row_ in expected.items():
        assert list(found[place]) == list(row_), place
        np.testing.assert_allclose(found[place]["scores"], row_["scores"], rtol=0, atol=1.01e-5)
        assert found[place]["class_ids"] == row_["class_ids"], place
        assert found[place]["label_names"] == row_["label_names"], place
