"""The certificate's JPEG files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from edge_case_files.images import exif, image
from edge_case_files.jpeg import Sampling, encode_jpeg, segment, to_ycbcr

Named = tuple[str, bytes]  # the file's name and what is in it

SAMPLINGS: dict[str, Sampling] = {
    "444": ((1, 1), (1, 1), (1, 1)),
    "422": ((2, 1), (1, 1), (1, 1)),
    "420": ((2, 2), (1, 1), (1, 1)),
    "440": ((1, 2), (1, 1), (1, 1)),
    "411": ((4, 1), (1, 1), (1, 1)),
    "410": ((4, 2), (1, 1), (1, 1)),
    "uneven": ((2, 2), (2, 1), (1, 2)),
}
_FOUR: dict[str, Sampling] = {
    "full": ((1, 1),) * 4,
    "reduced": ((2, 2), (1, 1), (1, 1), (2, 2)),
}
PLAIN = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def photo(width: int, height: int, seed: int, quality: int = 80, sampling: str = "420") -> bytes:
    """As a camera writes it."""
    stored = to_ycbcr(image(width, height, seed))
    return encode_jpeg(stored, quality=quality, sampling=SAMPLINGS[sampling], segments=PLAIN)


def jpegs() -> Iterator[Named]:
    """Every quality with every sampling, and what is legal but rare around the pixels."""
    for q, quality in enumerate((5, 25, 50, 75, 85, 95, 100)):
        for s, name in enumerate(SAMPLINGS):
            size = 61 + 17 * s + 5 * q, 47 + 11 * q + 3 * s
            yield f"{name}-{quality}.jpg", photo(*size, 100 + 10 * q + s, quality, name)
    stored = to_ycbcr(image(83, 59, 11))
    for restart in (1, 2, 7):
        data = encode_jpeg(stored, sampling=SAMPLINGS["420"], segments=PLAIN, restart=restart)
        yield f"restart-{restart}.jpg", data
    yield (
        "wide-tables.jpg",
        encode_jpeg(stored, quality=3, segments=PLAIN, wide_tables=True, frame=0xC1),
    )
    yield "extended.jpg", encode_jpeg(stored, segments=PLAIN, frame=0xC1)
    remark = segment(0xFE, b"\xff\xd8 no start, \xff\xd9 no end")
    yield "remark.jpg", encode_jpeg(stored, segments=PLAIN + remark)
    yield "filled.jpg", encode_jpeg(stored, segments=b"\xff\xff\xff" + PLAIN)
    yield (
        "profile.jpg",
        encode_jpeg(stored, segments=PLAIN + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(64_000))),
    )
    thumbnail = segment(0xE1, b"Exif\0\0" + exif(1) + photo(16, 12, 3))
    yield "thumbnail.jpg", encode_jpeg(stored, segments=thumbnail)
    yield "trailer.jpg", encode_jpeg(stored, segments=PLAIN) + b"\0\xff\xd8\xff and more"
    yield "bare.jpg", encode_jpeg(stored)


def progressive() -> Iterator[Named]:
    """Scan by scan."""
    for q, quality in enumerate((20, 60, 92)):
        for s, name in enumerate(("444", "422", "420", "440")):
            stored = to_ycbcr(image(70 + 13 * s, 55 + 9 * q, 200 + 10 * q + s))
            yield (
                f"{name}-{quality}.jpg",
                encode_jpeg(
                    stored,
                    quality=quality,
                    sampling=SAMPLINGS[name],
                    progressive=True,
                    segments=PLAIN,
                ),
            )
    for restart in (1, 5):
        stored = to_ycbcr(image(71, 66, 210 + restart))
        data = encode_jpeg(stored, sampling=SAMPLINGS["420"], progressive=True, restart=restart)
        yield f"restart-{restart}.jpg", data
    stored = image(64, 75, 230)[..., :1]
    yield "grey.jpg", encode_jpeg(stored, progressive=True, segments=PLAIN)


def grey() -> Iterator[Named]:
    """One channel."""
    for i, (quality, sampling) in enumerate(((10, 1), (60, 1), (90, 1), (75, 2), (95, 4))):
        stored = image(50 + 7 * i, 90 - 6 * i, 300 + i)[..., 1:2]
        data = encode_jpeg(
            stored, quality=quality, sampling=((sampling, sampling),), segments=PLAIN
        )
        yield f"{quality}-{sampling}.jpg", data


def colours() -> Iterator[Named]:
    """Other colours than the usual three: for printing, and red, green and blue as they are."""
    for i, (name, sampling) in enumerate(_FOUR.items()):
        for j, quality in enumerate((40, 75, 95)):
            inks = _inks(57 + 8 * i, 49 + 10 * j, 400 + 10 * i + j)
            yield (
                f"cmyk-{name}-{quality}.jpg",
                encode_jpeg(inks, quality=quality, sampling=sampling, segments=adobe(0)),
            )
            ycck = np.dstack([to_ycbcr(255 - inks[..., :3]), inks[..., 3:]])
            yield (
                f"ycck-{name}-{quality}.jpg",
                encode_jpeg(ycck, quality=quality, sampling=sampling, segments=adobe(2)),
            )
        inks = _inks(66, 40 + i, 430 + i)
        yield f"unmarked-{name}.jpg", encode_jpeg(inks, sampling=sampling)
    rgb = image(77, 45, 440)
    yield "rgb-marked.jpg", encode_jpeg(rgb, quality=90, segments=adobe(0))
    yield "rgb-named.jpg", encode_jpeg(rgb, quality=90, ids=b"RGB")
    stored = to_ycbcr(rgb)
    yield "ycc-marked.jpg", encode_jpeg(stored, quality=90, segments=adobe(1))
    yield "ycc-numbered.jpg", encode_jpeg(stored, quality=90, ids=(0, 1, 2))


def adobe(transform: int) -> bytes:
    """The segment that says what four channels mean: 0 as they are, 1 YCbCr, 2 YCCK."""
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def _inks(width: int, height: int, seed: int) -> np.ndarray:
    """Cyan, magenta, yellow and black, inverted as they are usually stored."""
    return np.dstack([image(width, height, seed), image(width, height, seed + 50)[..., 0] | 96])


def tall(width: int, rows: int, seed: int, sampling: str = "420", quality: int = 50) -> bytes:
    """An image of any height: one row of blocks again and again, between restart markers."""
    grey = not sampling
    side = 8 * (1 if grey else SAMPLINGS[sampling][0][1])
    across = 8 * (1 if grey else SAMPLINGS[sampling][0][0])
    strip = image(width, side, seed)
    groups = -(-width // across)
    data = encode_jpeg(
        strip[..., :1] if grey else to_ycbcr(strip),
        quality=quality,
        sampling=None if grey else SAMPLINGS[sampling],
        segments=PLAIN,
        restart=groups,
    )
    frame = data.index(b"\xff\xc0")
    data = data[: frame + 5] + struct.pack(">H", side * rows) + data[frame + 7 :]
    scan = data.index(b"\xff\xda")
    scan += 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    row = data[scan:-2]
    body = b"".join(row + bytes([0xFF, 0xD0 + i % 8]) for i in range(rows - 1)) + row
    return data[:scan] + body + data[-2:]
