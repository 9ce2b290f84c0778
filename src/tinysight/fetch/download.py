"""One file over HTTP: resumed where it was cut, hashed on its way, placed whole or not at all.

While it grows, a file is called `.NAME.part`, with `.NAME.part.json` beside it that says which version of the remote
file it is a part of. A later call, or a later process, resumes it if the server still has that version; else it starts
again. `NAME` appears in one step at the end.
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
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from tinysight.errors import FetchError
from tinysight.fetch.cache import digest_of, locked, offline
from tinysight.fetch.transport import DEFAULT, Again, Policy, check_address, explain, open_url
from tinysight.files import write_atomic

log = logging.getLogger(__name__)

Report = Callable[[int, "int | None"], None]
"""Called with the bytes so far and, where known, the size of the whole file."""

_CHUNK = 1 << 16
_FREE = "free some space, or set TINYSIGHT_CACHE"
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class Downloaded(NamedTuple):
    """A file on disk: hexadecimal SHA-256, bytes, and whether it came over the network just now."""

    sha256: str
    size: int
    fresh: bool


def download(
    url: str, path: Path, *, sha256: str | None = None, policy: Policy = DEFAULT, report: Report | None = None
) -> Downloaded:  # fmt: skip
    """Bring the file at `url` to `path`. A file that is there already is hashed, not fetched.

    Two processes that want the same `path` take turns; the second finds the file of the first.

    Args:
        url: an https address; http only to this machine.
        path: the file to write; its folder is made.
        sha256: the hexadecimal hash that the file must have; None accepts any.
        policy: limits on tries, time, size and redirects.
        report: progress, called for each piece.

    Raises:
        FetchError: offline, no such file, no network, the hash or the length is another, too large, disk full. What has
            arrived is kept for the next call, except when the hash is wrong.
    """
    check_address(url)
    if offline() and not path.is_file():
        what = "not on this machine, and TINYSIGHT_OFFLINE forbids the network"
        raise FetchError(url, what, f"fetch it elsewhere and copy it to {path}")
    # A file that is there was placed whole: no lock, so a cache may be read-only.
    with nullcontext() if path.is_file() else locked(path):
        if path.is_file():
            found = digest_of(path).hexdigest()
            _compare(str(path), found, sha256)
            return Downloaded(found, path.stat().st_size, fresh=False)
        part = _Part(url, path, policy, report or (lambda done, total: None))
        part.complete(sized=sha256 is None)
        found = part.digest.hexdigest()
        if sha256 is not None and found != sha256.lower():
            part.drop()
        _compare(url, found, sha256)
        with part.file.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part.file, path)  # noqa: PTH105 - the atomic step, spelt as the system call
        part.notes.unlink(missing_ok=True)
        return Downloaded(found, part.size, fresh=True)


def _compare(where: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted.lower():
        raise FetchError(where, f"has the SHA-256 {found[:16]}..., not {wanted[:16].lower()}...")


class _Part:
    """The growing file: its bytes, their hash, and the version of the remote file that they belong to.

    The version is a strong ETag or a Last-Modified date: what If-Range can hold.
    """

    def __init__(self, url: str, path: Path, policy: Policy, report: Report) -> None:
        self.url, self.policy, self.report = url, policy, report
        self.file = path.with_name(f".{path.name}.part")
        self.notes = path.with_name(f".{path.name}.part.json")
        self.start("")
        with suppress(OSError, ValueError, KeyError, TypeError):
            notes = json.loads(self.notes.read_text("utf-8"))
            if notes["url"] == url and notes["version"]:
                self.digest, self.size = digest_of(self.file), self.file.stat().st_size
                self.version = str(notes["version"])

    def start(self, version: str) -> None:
        """Begin again with this version of the remote file."""
        self.version, self.size, self.digest = version, 0, hashlib.sha256()

    def drop(self, why: str = "") -> Again:
        """Forget what has arrived; the reason to ask for all of it."""
        self.start("")
        self.file.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        return Again(why)

    def complete(self, *, sized: bool) -> None:
        """Try until the file is whole, or `policy.attempts` tries in a row have brought no new byte."""
        policy, failures, best = self.policy, 0, self.size
        while True:
            try:
                return self.request(sized=sized)
            except Again as error:
                failures = 1 if self.size > best else failures + 1
                best = max(best, self.size)
                if failures >= policy.attempts:
                    kept = f"; {self.size} bytes are kept, and the next try resumes there"
                    what = f"{error}, {failures} times in a row{kept if self.version else ''}"
                    raise FetchError(self.url, what) from None
                pause = min(policy.backoff * 2 ** (failures - 1), policy.max_backoff)
                pause *= random.uniform(0.8, 1.2)  # noqa: S311
                pause = max(pause, min(error.wait, policy.max_backoff))
                log.info("%s: %s; again in %.1f s", self.url, error, pause)
                time.sleep(pause)

    def request(self, *, sized: bool) -> None:
        """One request, appended to the part or written over it. Returns when the file is whole."""
        resume, headers = self.size > 0 and self.version != "", {"Accept-Encoding": "identity"}
        if resume:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self.version}
        try:
            answer = open_url(self.url, headers, self.policy)
        except FetchError as error:
            if error.status == 416 and resume:  # as long as the file or longer: not to be trusted
                raise self.drop("the server cannot resume there") from None
            raise
        with answer:
            total = self.check(answer, resumed=resume)
            if total is None and sized and not answer.chunked:
                what = "the server does not say how long the file is: a cut would go unnoticed"
                raise FetchError(self.url, what)
            try:
                self.receive(answer, total)
            except (OSError, http.client.HTTPException) as error:
                file, why = getattr(error, "filename", None), getattr(error, "strerror", "")
                if getattr(error, "errno", None) in _FULL:
                    what, where = f"the disk is full: {why}", str(self.file.parent)
                    hint = f"{_FREE}; {self.size} bytes are kept in {self.file}"
                    raise FetchError(where, what, hint) from None
                if file is not None:
                    raise FetchError(str(file), f"cannot be written: {why}") from None
                raise explain(self.url, error, self.policy) from None
        if total is not None and self.size != total:
            raise Again(f"cut after {self.size} of {total} bytes")

    def check(self, answer: http.client.HTTPResponse, *, resumed: bool) -> int | None:
        """Size of the whole file; refuses an answer that does not fit the request, or the disk."""
        packed = answer.headers.get("Content-Encoding", "identity").lower()
        if packed not in ("identity", ""):
            raise FetchError(self.url, f"the server packs the file ({packed}), unasked")
        if answer.status not in (200, 206):
            raise FetchError(self.url, f"the server answers {answer.status} {answer.reason}")
        total = answer.length
        if answer.status == 206:
            said = re.findall(r"^bytes (\d+)-(\d+)/(\d+)$", answer.headers.get("Content-Range", ""))
            first, last, total = map(int, said[0]) if said else (-1, -1, -1)
            if not resumed or first != self.size or last != total - 1:
                raise self.drop("the server sends another part than the one asked for")
            if _version(answer) not in ("", self.version):
                raise self.drop("the file has changed on the server since its first part")
        most, free = self.policy.max_bytes, shutil.disk_usage(self.file.parent).free
        if (total or 0) > most:
            raise FetchError(self.url, f"is {total} bytes, more than the limit of {most}")
        if total is not None and total - self.size > free:
            what = f"{total / 1e6:.1f} MB do not fit on the disk: {free / 1e6:.1f} MB are free"
            raise FetchError(str(self.file.parent), what, _FREE)
        return total

    def receive(self, answer: http.client.HTTPResponse, total: int | None) -> None:
        """Append the body, or write it from the start where it is the whole file."""
        mode = "wb" if answer.status == 200 else "ab"
        with self.file.open(mode) as stream:
            if mode == "wb":
                self.start(_version(answer))
                write_atomic(self.notes, json.dumps({"url": self.url, "version": self.version}))
            self.report(self.size, total)
            while piece := answer.read1(_CHUNK):
                stream.write(piece)
                self.digest.update(piece)
                self.size += len(piece)
                if self.size > (most := self.policy.max_bytes):
                    raise FetchError(self.url, f"is more than the limit of {most} bytes")
                self.report(self.size, total)


def _version(answer: http.client.HTTPResponse) -> str:
    """What `If-Range` may hold: a strong ETag, else the date; empty when the server gives neither."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
