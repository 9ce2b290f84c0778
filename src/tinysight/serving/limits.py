"""Who and what a server lets in: its limits, tokens and rates, and the refusal that a client gets."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from tinysight.errors import ConfigError
from tinysight.files import writing

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PREFIX = "sha256:"
_MAX_CLIENTS = 10_000  # whose rates are remembered


@dataclass(frozen=True)
class ServerLimits:
    """What one server process takes on.

    Attributes:
        body_bytes: most bytes of a request, also after decompression.
        held_bytes: most bytes of all requests that are held at the same time.
        pixels: most pixels of an image, width times height.
        images: most images of a request.
        queue: most jobs of a model that wait.
        batch: most images in one run of a network.
        deadline: seconds from a whole request to its result.
        head_seconds, body_seconds: time for a client to send the head and the body of a request.
        head_bytes: most bytes of a request's head.
        connections: most connections.
        rate: requests a second of one client; 0: any number.
        drain: seconds between the end of readiness and the end of accepting connections.
    """

    body_bytes: int = 16 << 20
    held_bytes: int = 512 << 20
    pixels: int = 50_000_000
    images: int = 64
    queue: int = 64
    batch: int = 4
    deadline: float = 10.0
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    head_bytes: int = 1 << 16
    connections: int = 1000
    rate: float = 0.0
    drain: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("rate", "drain") else 1e-3
            if not least <= value < float("inf"):
                what = f"should be {least:g} or more, got {value}"
                raise ConfigError(f"--{name.replace('_', '-')}", what)


class Refusal(Exception):
    """A request that is answered with an error: HTTP status, one sentence, and when to try again."""

    def __init__(self, status: int, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after = status, text, retry_after


def read_tokens(path: str | Path) -> tuple[bytes, ...]:
    """The SHA-256 digests of the tokens in a file: lines `sha256:HEX`, anything may follow a blank.

    Raises:
        ConfigError: not readable, no token in it, or one that is not hashed.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ConfigError(str(path), f"cannot be read: {reason}") from None
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    try:
        digests = tuple(bytes.fromhex(word.removeprefix(_PREFIX)) for word in words)
    except ValueError:
        digests = ()
    hashed = all(word.startswith(_PREFIX) for word in words)
    if not digests or not hashed or any(len(digest) != 32 for digest in digests):
        hint = f"make one with `tinysight serve --new-token {path}`"
        raise ConfigError(str(path), "holds lines that are no `sha256:` and 64 digits", hint)
    return digests


def new_token(path: str | Path) -> str:
    """A new token; its digest is added to the file, which its owner alone may read."""
    token = secrets.token_urlsafe(32)
    line = f"{_PREFIX}{hashlib.sha256(token.encode()).hexdigest()}\n"
    with writing(path, ConfigError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(line)
    return token


class Access:
    """Checks tokens and rates.

    Args:
        tokens: digests of the tokens that may ask; None: everybody may.
        admin_tokens: digests of those that may also load and unload; None: nobody may.
        rate: requests a second of one client; 0: any number.
    """

    def __init__(
        self, tokens: tuple[bytes, ...] | None = None,
        admin_tokens: tuple[bytes, ...] | None = None, rate: float = 0.0,
    ) -> None:  # fmt: skip
        self._tokens, self._admin, self._rate = tokens, admin_tokens, rate
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str, authorization: str, *, admin: bool = False) -> None:
        """Return if this request may come in.

        Args:
            client: address of the client.
            authorization: the header of that name.
            admin: True for what changes the server.

        Raises:
            Refusal: 401, 403 or 429.
        """
        self._count(client)
        if admin and self._admin is None:
            raise Refusal(403, "this server was started without --admin-token-file")
        allowed = self._admin if admin else self._tokens
        if allowed is None:
            return
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        known = (*allowed, *(self._admin or ()))
        found = [hmac.compare_digest(digest, other) for other in known]  # all of them, always
        if scheme.lower() != "bearer" or not any(found):
            raise Refusal(401, "needs the header `Authorization: Bearer TOKEN` with a known token")

    def check_host(self, host: str) -> None:
        """Refuse the name of another site where no token is needed: a web page may point it at this machine.

        Raises:
            Refusal: 403.
        """
        name = re.sub(r":\d*$", "", host).strip("[]").lower()
        if self._tokens is None and name not in LOOPBACK:
            what = "without tokens this server answers to the names of this machine only"
            raise Refusal(403, what)

    def _count(self, client: str) -> None:
        if not self._rate:
            return
        now, burst = time.monotonic(), max(1.0, self._rate)
        left, before = self._clients.pop(client, (burst, now))
        left = min(burst, left + (now - before) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            what = f"more than {self._rate:g} requests a second from this address"
            raise Refusal(429, what, (1 - left) / self._rate)
