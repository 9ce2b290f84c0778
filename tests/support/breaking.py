"""Hostile inputs, the same ones for the same seed, and what reading them must not do."""

from __future__ import annotations

import copy
import io
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from support.nasty import by_opencv, by_pillow, cloud, edge_case_files
from tinysight.errors import TinysightError

SLOW = 5.0  # seconds of processor time that no input may take


class Campaign:
    """Tries inputs and counts what became of them; prints its seed, so that a failure can be repeated."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        print(f"{name}: seed {seed}")  # noqa: T201

    def attempt(self, what: str, act: Callable[[], Any]) -> bool:
        """Whether it was accepted; anything but an error of ours is a fault, and so is taking long."""
        began, kind = time.process_time(), "read"
        try:
            act()
        except TinysightError:
            kind = "refused"
        except BaseException as error:  # noqa: BLE001 - every one of them is a fault
            kind = "foreign"
            self.faults.append(f"{what}: {error!r:.200}")
        if time.process_time() - began > SLOW:
            self.faults.append(f"{what}: took {time.process_time() - began:.1f} s")
        self.counts[kind] += 1
        return kind == "read"

    def check(self, least: int) -> None:
        """Nothing foreign, and as much was tried as meant."""
        print(f"{self.name}: {dict(self.counts)}")  # noqa: T201
        shown = "\n".join(self.faults[:40])
        assert not self.faults, f"seed {self.seed}: {len(self.faults)} faults\n{shown}"
        assert self.counts.total() >= least


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four edits: a byte, a bit, bytes lost, doubled or swapped, the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, some = rng.randrange(len(out) + 1), rng.randrange(1, 65)
        match rng.randrange(7):
            case 0:
                out[at : at + 1] = rng.randbytes(1)
            case 1 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                del out[at : at + some]
            case 3:
                out[at:at] = out[rng.randrange(len(out) + 1) :][:some]
            case 4:
                out[at : at + some] = rng.randbytes(some)
            case 5:
                out[at : at + some] = bytes([rng.choice((0, 255))]) * some
            case 6 if rng.random() < 0.3:
                del out[at:]
        out = out or bytearray(b"\0")
    return bytes(out)


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks, as far as they can be told, have the checksums that they should have."""
    out, at = bytearray(png), 8
    while at + 12 <= len(out):
        end = at + 12 + int.from_bytes(out[at : at + 4], "big")
        if end > len(out):
            break
        out[end - 4 : end] = struct.pack(">I", zlib.crc32(out[at + 4 : end - 4]))
        at = end
    return bytes(out)


NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -1e308, 1e308, "", "x", "\0", "\ud800", "é" * 300,
    "../x", "/etc/passwd", "1", [], {}, [[]], [None], ["x"], [1, 2, 3], {"name": "x"}, {"": None}, [[[[[[[[1]]]]]]]],
)  # fmt: skip


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything below `tree`."""
    for key in (
        tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    ):
        yield (*here, key)
        yield from places(tree[key], (*here, key))


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """Plain data with one to three values replaced, removed, doubled or swapped."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        paths = list(places(tree))
        if not paths:
            break
        *above, last = rng.choice(paths)
        parent = tree
        for key in above:
            parent = parent[key]
        match rng.randrange(5):
            case 0 | 1 | 2:
                parent[last] = copy.deepcopy(rng.choice(NASTY))
            case 3 if isinstance(parent, dict):
                parent[rng.choice(("x", "name", "", f"{last}s"))] = parent.pop(last)
            case 3:
                parent.append(parent[last])
            case _:
                del parent[last]
    return tree


def small_images() -> dict[str, bytes]:
    """Files of every format and kind, small enough to be damaged by the thousand."""
    from edge_case_files.files import make_files

    files = {k: v for k, v in edge_case_files().items() if len(v) < 30_000 and v}
    files |= {k: v for k, v in make_files() if len(v) < 30_000 and "." in k}
    for name, options in {
        "base": {"quality": 90}, "progressive": {"progressive": True}, "444": {"subsampling": 0},
        "restarts": {"restart_marker_blocks": 2},
    }.items():  # fmt: skip
        files[f"photo_{name}.jpg"] = by_pillow("JPEG", cloud(160, 120, 3), **options)
    files["photo.webp"] = by_pillow("WEBP", cloud(160, 120, 3))
    files["photo.png"] = by_pillow("PNG", cloud(60, 50, 3))
    interlaced = io.BytesIO()
    Image.fromarray(cloud(40, 30)).save(interlaced, "PNG", optimize=True)
    files["optimised.png"] = interlaced.getvalue()
    files["deep.png"] = by_opencv(".png", cloud(40, 30).astype("uint16") * 257)
    return files


def mutated_images(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged images by name; those of a PNG have right checksums, so that they are read further."""
    rng, files = random.Random(seed), small_images()
    groups = {
        suffix: [n for n in files if n.endswith(suffix)]
        for suffix in (".jpg", ".png", ".bmp", ".webp")
    }
    for i in range(count):
        suffix = rng.choice((".jpg", ".jpg", ".png", ".bmp", ".webp"))
        name = rng.choice(groups[suffix])
        data = mutated(files[name], rng)
        if suffix == ".png" and rng.random() < 0.8:
            data = with_checksums(data)
        yield f"{i:05d}_{name}", data


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that promise, or hold, very many pixels: some are refused, the others cost little enough."""
    files = small_images()
    jpeg, bmp, webp = (files["photo_base.jpg"], files["bmps_RGB_21.bmp"], files["photo.webp"])
    frame = jpeg.index(b"\xff\xc0")
    for side in (5_000, 13_000, 13_400, 16_383, 20_000, 40_000, 65_535):
        sizes = struct.pack(">HH", side, side)
        yield f"jpeg_{side}.jpg", jpeg[: frame + 5] + sizes + jpeg[frame + 9 :]
        yield (
            f"jpeg_{side}_line.jpg",
            jpeg[: frame + 5] + struct.pack(">HH", 1, side) + jpeg[frame + 9 :],
        )
        for coding in (0, 1):
            head = (
                bmp[:18] + struct.pack("<ii", side, -side) + bmp[26:30] + struct.pack("<I", coding)
            )
            yield f"bmp_{side}_{coding}.bmp", head + bmp[34:]
        packed = struct.pack("<HH", side & 0x3FFF, side & 0x3FFF)
        yield f"webp_{side}.webp", webp[:26] + packed + webp[30:]
        for bits, colour in ((1, 0), (8, 2), (16, 6)):
            head = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
            body = zlib.compress(bytes(1 << 20), 9)
            yield f"png_{side}_{bits}.png", _png(head, body)
    for side in (1_000, 4_000):  # as large as they say
        row = bytes(1 + -(-side // 8))
        head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        yield f"png_{side}_whole.png", _png(head, zlib.compress(row * side, 9))
    for name in (b"iCCP", b"zTXt", b"iTXt"):
        head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
        text = b"a\0\0" + zlib.compress(bytes(1 << 26), 9)
        yield f"png_{name.decode()}.png", _png(head, zlib.compress(bytes(72)), (name, text))


def _png(head: bytes, body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    chunks = ((b"IHDR", head), *more, (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
