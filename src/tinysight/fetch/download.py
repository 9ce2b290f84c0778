"""One file over HTTP: resumed where it was cut, hashed on its way, placed whole or not at all.

While it grows, a file is called `.NAME.part`, with `.NAME.part.json` beside it that says which version of the remote
file it is a part of. A later call, or a later process, goes on from there if the server still has that version; else it
starts again. `NAME` appears in one step at the end.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tinysight.errors import FetchError
from tinysight.fetch.cache import hash_file, locked, offline
from tinysight.fetch.transport import DEFAULT, Again, Policy, check_address, explain, open_url
from tinysight.files import write_atomic

log = logging.getLogger(__name__)

Report = Callable[[int, "int | None"], None]
"""Called with the bytes so far and, where known, the size of the whole file."""

_CHUNK = 1 << 16
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class Downloaded(NamedTuple):
    """A file on disk: hexadecimal SHA-256, bytes, and whether it came over the network just now."""

    sha256: str
    size: int
    fresh: bool


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    policy: Policy = DEFAULT,
    report: Report | None = None,
) -> Downloaded:
    """Bring the file at `url` to `path`. A file that is there already is hashed, not fetched.

    Two processes that want the same `path` take turns; the second finds the file of the first.

    Args:
        url: an https address; http only to this machine, unless `policy.allow_http`.
        path: where the file goes; its folder is made.
        sha256: the hash that it must have.
        policy: limits on tries, time, size and redirects.
        report: progress, called for each piece.

    Raises:
        FetchError: offline, no such file, no network, the hash or the length is another, too large, disk full. What has
            arrived is kept for the next call, except when the hash is wrong.
    """
    check_address(url, policy)
    if offline() and not path.is_file():
        raise FetchError(
            url,
            "not on this machine, and TINYSIGHT_OFFLINE forbids the network",
            f"fetch it elsewhere and copy it to {path}",
        )
    if path.is_file():  # it was placed whole: no lock, so a cache may be read-only
        return _existing(path, sha256)
    with locked(path):
        if path.is_file():
            return _existing(path, sha256)
        part = _Part(url, path)
        _try_until_whole(part, policy, report, sized=sha256 is None)
        found, size = part.digest.hexdigest(), part.size
        if sha256 is not None and found != sha256:
            part.drop()
        _compare(url, found, sha256)
        part.place(path)
        return Downloaded(found, size, fresh=True)


def _existing(path: Path, sha256: str | None) -> Downloaded:
    found, size = hash_file(path)
    _compare(str(path), found, sha256)
    return Downloaded(found, size, fresh=False)


def _compare(where: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted.lower():
        raise FetchError(where, f"has the SHA-256 {found[:16]}..., not {wanted[:16].lower()}...")


class _Part:
    """The growing file: its bytes, their hash, and the version of the remote file that they belong to."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.file = path.with_name(f".{path.name}.part")
        self.notes = path.with_name(f".{path.name}.part.json")
        self.version = ""  # a strong ETag or a Last-Modified date: what If-Range can hold
        self.size = 0
        self.digest = hashlib.sha256()
        self._load()

    def _load(self) -> None:
        try:
            notes = json.loads(self.notes.read_text("utf-8"))
            if notes["url"] != self.url or not notes["version"]:
                return
            with self.file.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    self.digest.update(piece)
                    self.size += len(piece)
            self.version = str(notes["version"])
        except (OSError, ValueError, KeyError, TypeError):
            self.size, self.digest = 0, hashlib.sha256()

    def start(self, version: str) -> BinaryIO:
        """Begin anew with this version of the remote file."""
        self.version, self.size, self.digest = version, 0, hashlib.sha256()
        stream = self.file.open("wb")
        write_atomic(self.notes, json.dumps({"url": self.url, "version": version}))
        return stream

    def add(self, stream: BinaryIO, piece: bytes) -> None:
        stream.write(piece)
        self.digest.update(piece)
        self.size += len(piece)

    def drop(self) -> None:
        self.version, self.size, self.digest = "", 0, hashlib.sha256()
        self.file.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def place(self, path: Path) -> None:
        with self.file.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(self.file, path)  # noqa: PTH105 - the atomic step, spelt as the system call
        self.notes.unlink(missing_ok=True)


def _try_until_whole(part: _Part, policy: Policy, report: Report | None, *, sized: bool) -> None:
    failures, best = 0, part.size
    while True:
        try:
            return _one_try(part, policy, report, sized=sized)
        except Again as error:
            failures = 1 if part.size > best else failures + 1
            best = max(best, part.size)
            if failures >= policy.attempts:
                kept = (
                    f"; {part.size} bytes are kept, and the next try goes on from there"
                    if part.version
                    else ""
                )
                raise FetchError(part.url, f"{error}, {failures} times in a row{kept}") from None
            pause = min(policy.backoff * 2 ** (failures - 1), policy.max_backoff) * random.uniform(
                0.8, 1.2
            )  # noqa: S311
            pause = max(pause, min(error.wait, policy.max_backoff))
            log.info("%s: %s; again in %.1f s", part.url, error, pause)
            time.sleep(pause)


def _one_try(part: _Part, policy: Policy, report: Report | None, *, sized: bool) -> None:
    """One request, appended to the part or written over it. Returns when the file is whole."""
    resume = (
        {"Range": f"bytes={part.size}-", "If-Range": part.version}
        if part.version and part.size
        else {}
    )
    try:
        answer = open_url(part.url, {"Accept-Encoding": "identity", **resume}, policy)
    except FetchError as error:
        if (
            error.status == 416 and resume
        ):  # the part is as long as the file or longer: it cannot be trusted
            part.drop()
            raise Again("the server cannot go on from there") from None
        raise
    with answer:
        total = _total(part, answer, resumed=bool(resume))
        if total is not None:
            _check_room(part, total, policy)
        elif sized and not answer.chunked:
            raise FetchError(
                part.url, "the server does not say how long the file is: a cut would go unnoticed"
            )
        try:
            if answer.status == 206:
                with part.file.open("ab") as stream:
                    _copy(part, stream, answer, total, policy, report)
            else:
                with part.start(_version(answer)) as stream:
                    _copy(part, stream, answer, total, policy, report)
        except http.client.HTTPException as error:
            raise explain(part.url, error, policy) from None
        except OSError as error:
            if error.errno in _FULL:
                hint = f"free some space, or set TINYSIGHT_CACHE; {part.size} bytes are kept in {part.file}"
                raise FetchError(
                    str(part.file.parent), f"the disk is full: {error.strerror}", hint
                ) from None
            if error.filename is not None:
                raise FetchError(
                    str(error.filename), f"cannot be written: {error.strerror}"
                ) from None
            raise explain(part.url, error, policy) from None
    if total is not None and part.size != total:
        raise Again(f"cut after {part.size} of {total} bytes")


def _total(part: _Part, answer: http.client.HTTPResponse, *, resumed: bool) -> int | None:
    """Size of the whole file; refuses an answer that does not fit what was asked."""
    if answer.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise FetchError(
            part.url, f"the server packs the file ({answer.headers['Content-Encoding']}), unasked"
        )
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if not (
            resumed and match and int(match[1]) == part.size and int(match[2]) == int(match[3]) - 1
        ):
            part.drop()
            raise Again("the server sends another part than the one asked for")
        if _version(answer) not in ("", part.version):
            part.drop()
            raise Again("the file has changed on the server since its first part")
        return int(match[3])
    if answer.status != 200:
        raise FetchError(part.url, f"the server answers {answer.status} {answer.reason}")
    return answer.length


def _version(answer: http.client.HTTPResponse) -> str:
    """What `If-Range` may hold: a strong ETag, else the date; empty when the server gives neither."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _check_room(part: _Part, total: int, policy: Policy) -> None:
    if total > policy.max_bytes:
        raise FetchError(part.url, f"is {total} bytes, more than the limit of {policy.max_bytes}")
    free = shutil.disk_usage(part.file.parent).free
    if total - part.size > free:
        what = f"{_mb(total)} do not fit on the disk, which has {_mb(free)} free"
        raise FetchError(str(part.file.parent), what, "free some space, or set TINYSIGHT_CACHE")


def _copy(
    part: _Part,
    stream: BinaryIO,
    answer: http.client.HTTPResponse,
    total: int | None,
    policy: Policy,
    report: Report | None,
) -> None:
    if report:
        report(part.size, total)
    while piece := answer.read1(_CHUNK):
        part.add(stream, piece)
        if part.size > policy.max_bytes:
            raise FetchError(part.url, f"is more than the limit of {policy.max_bytes} bytes")
        if report:
            report(part.size, total)


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
