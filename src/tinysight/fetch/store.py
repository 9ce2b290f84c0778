"""From an address to a verified file in the cache: the download and the archive put together.

**Trust on first use.** The publisher gives no checksums. What an address holds when it is first fetched into a cache is
believed, on the strength of https alone; its SHA-256 is written to `hashes.json`, and from then on that address must
hold the same bytes. The cached file is hashed again at each use. The unpacked folder of an archive carries the hash in
its name; its files are not hashed again.

`TINYSIGHT_MIRROR=https://mirror.example` asks `<mirror>/<host>/<path>` instead of the address itself; hashes stay filed
under the address, so a mirror cannot change what was recorded.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tinysight.errors import FetchError
from tinysight.fetch import cache as place
from tinysight.fetch.archive import Limits, content_of, extract
from tinysight.fetch.cache import Record, cache_folder, path_for
from tinysight.fetch.download import Downloaded, Report, download
from tinysight.fetch.transport import DEFAULT, Policy, check_address

log = logging.getLogger(__name__)

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_DATA_LIMITS = Limits(members=2_000_000, total=256 << 30)  # a data set has a file for each image


class Artifact(NamedTuple):
    """One file that can be fetched.

    Attributes:
        name: the file's public name.
        kind: what it holds: "inference" (an exported program), "weights", "data", or another word.
        urls: addresses of equal copies: the next is asked only when the one before does not exist.
        page: address of the page that describes it.
        licence: terms of use, as far as the publisher states them.
        labels: class names in the order of the outputs, as the publisher's deploy configuration spells them.
        threshold: that configuration's, for two classes; None where there is none.
        note: a remark for the user.
        exact: True if whole images are brought to the network's size, whatever their proportions; else the middle is
            cut out.
    """

    name: str
    kind: str
    urls: tuple[str, ...]
    page: str
    licence: str = "not known"
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    note: str = ""
    exact: bool = False

    @property
    def filename(self) -> str:
        """Last part of the address."""
        return self.urls[0].rsplit("/", 1)[-1]


class Fetched(NamedTuple):
    """A fetched file.

    `path` is what to use: the file, or for an archive the folder of its content (its only sub-folder, where it has just
    one). `fresh`: it came over the network in this call; else it was in the cache.
    """

    artifact: Artifact
    url: str
    path: Path
    file: Path
    sha256: str
    size: int
    fresh: bool


def fetch(
    source: str | Artifact, *, kind: str = "file", cache: Path | None = None,
    policy: Policy = DEFAULT, report: Report | None = None, accept_change: bool = False,
) -> Fetched:  # fmt: skip
    """Bring a file into the cache and verify it.

    Args:
        source: an https address, or an artifact with its addresses.
        kind: what is at the address; "data" may be as large as a data set.
        cache: the cache folder; default `cache_folder()`.
        policy: limits of the download.
        report: progress, called with the bytes so far and the size.
        accept_change: True to forget the recorded hash and fetch again.

    Raises:
        FetchError: it cannot be downloaded or unpacked, or is no longer what was recorded.
    """
    if isinstance(source, Artifact):
        row, asked = source, source.name
    else:
        stem = urlsplit(source).path.rsplit("/", 1)[-1]
        row, asked = Artifact(stem or source, kind, (source,), ""), source
    folder = cache or cache_folder()
    first, *others = sorted(row.urls, key=lambda url: not path_for(url, folder).is_file())
    if accept_change:
        path_for(first, folder).unlink(missing_ok=True)
        place.record(first, folder, None)
    for url in (first, *others):
        try:
            done = _file(url, asked, folder, policy, report)
            break
        except FetchError as error:
            if error.status != 404 or url == (first, *others)[-1]:
                raise
            log.info("%s; trying the next address", error)
    file = path_for(url, folder)
    path = _unpacked(file, done.sha256, row) if file.name.lower().endswith(_ARCHIVES) else file
    return Fetched(row, url, path, file, *done)


def copy_to(fetched: Fetched, out: Path) -> Path:
    """Copy what was fetched into the folder `out`, as unpacking it there would; the path of the copy.

    Raises:
        FetchError: something of that name is there already.
    """
    spread = fetched.path != fetched.file and fetched.path.name.startswith(fetched.file.name)
    sources = sorted(fetched.path.iterdir()) if spread else [fetched.path]
    out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        if (to := out / source.name).exists():
            raise FetchError(str(to), "is there already", "remove it, or name another folder")
        part = out / f".{source.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, part)
        part.replace(to)
    return out if spread else out / fetched.path.name


def cached(row: Artifact, cache: Path | None = None) -> Path | None:
    """The file of a row if it is in the cache, unverified."""
    paths = (path_for(url, cache or cache_folder()) for url in row.urls)
    return next((path for path in paths if path.is_file()), None)


def _file(url: str, name: str, folder: Path, policy: Policy, report: Report | None) -> Downloaded:
    check_address(url)
    known, file = place.recorded(url, folder), path_for(url, folder)
    if known and file.is_file() and place.digest_of(file).hexdigest() != known.sha256:
        what = f"is not what was fetched on {known.date}"
        if place.offline():
            raise FetchError(str(file), what, "delete it, and fetch it again with a network")
        log.warning("%s %s: fetching it again", file, what)
        file.unlink(missing_ok=True)
    done = download(_mirrored(url), file, policy=policy, report=report)
    if known and done.sha256 != known.sha256:
        file.unlink(missing_ok=True)
        was, now = (f"{about.sha256[:12]}..., {about.size} bytes" for about in (known, done))
        what = f"has changed since it was first fetched on {known.date} (SHA-256 {was}; now {now})"
        hint = f"if you trust the new file: tinysight models fetch {name} --accept-change"
        raise FetchError(url, f"{what}; not used", hint)
    if not known:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        place.record(url, folder, Record(done.sha256, done.size, today))
    return done


def _mirrored(url: str) -> str:
    mirror = os.environ.get("TINYSIGHT_MIRROR", "").rstrip("/")
    return f"{mirror}/{url.partition('://')[2]}" if mirror else url


def _unpacked(file: Path, sha256: str, row: Artifact) -> Path:
    """The folder of an archive's content; unpacked once for each content."""
    folder = file.with_name(f"{file.name}.{sha256[:12]}")
    if not folder.is_dir():
        with place.locked(folder):
            if not folder.is_dir():
                extract(file, folder, _DATA_LIMITS if row.kind == "data" else Limits())
    return content_of(folder)
