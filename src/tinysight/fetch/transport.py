"""One HTTP request: which addresses are allowed, which redirects are followed, and what each failure means.

A failure is either final, a `FetchError` that says in one line what is wrong, or worth another try, an `Again`.
Proxies come from the environment (`https_proxy`, `no_proxy`), certificates from the system (`SSL_CERT_FILE`).
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tinysight import __version__
from tinysight.errors import FetchError

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_WORTH_A_TRY = (408, 425, 429, 500, 502, 503, 504)
_HINTS = {
    401: "it is not public",
    403: "it is not public, or a proxy refuses it",
    404: "the publisher may have moved it",
    407: "the proxy wants a name and a password: set https_proxy",
    410: "the publisher has removed it",
}
_CLOCK = "check the clock; behind an inspecting proxy, set SSL_CERT_FILE to its certificate"
_NETWORK = "is there a network? https_proxy names a proxy; TINYSIGHT_OFFLINE=1 uses the cache alone"


class Policy(NamedTuple):
    """Limits of a download.

    `attempts` counts tries in a row that bring no new byte; the pause before a further one is `backoff` seconds,
    doubled each time up to `max_backoff`, and at least what the server asks for. `timeout` (seconds) is for connecting
    and for each piece of the answer.
    """

    attempts: int = 5
    backoff: float = 0.5
    max_backoff: float = 30.0
    timeout: float = 30.0
    max_bytes: int = 64 << 30
    max_redirects: int = 5


DEFAULT = Policy()


class Again(Exception):
    """This try failed, another may not. `wait`: seconds that the server asks for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def check_address(url: str, named: str = "") -> None:
    """Refuse an address before anything is sent.

    Raises:
        FetchError: not http(s), http to another machine, no host, or a password in the address.
    """
    where = named or url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FetchError(where, f"not an address: {error}") from None
    if parts.username is not None or parts.password is not None:
        shown = f"{parts.scheme}://{host}{parts.path}"
        raise FetchError(shown, "a name or password in an address ends up in logs; not supported")
    if parts.scheme not in ("https", "http") or not host:
        raise FetchError(where, "not an https address")
    if any(c <= " " or c == "\x7f" for c in url):
        raise FetchError(where, "an address has no blanks or control characters", "write %20")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise FetchError(where, "plain http can be changed on its way; only https is fetched")


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none that gives up encryption."""

    max_repeats = max_redirections = 1000  # ours comes first, with a message of ours

    def __init__(self, url: str, policy: Policy) -> None:
        self.url, self.policy, self.hops = url, policy, 0

    def redirect_request(self, req: Any, fp: Any, *rest: Any) -> urllib.request.Request | None:
        fp.close()  # its body says nothing
        here, there, most = req.full_url, str(rest[-1]), self.policy.max_redirects
        scheme = urlsplit(there).scheme
        self.hops += 1
        if self.hops > most:
            raise FetchError(self.url, f"more than {most} redirects; gave up")
        if urlsplit(here).scheme == "https" and scheme != "https":
            raise FetchError(here, f"redirects from https to {scheme}; not followed")
        check_address(there, f"{here} redirects to {there}")
        return super().redirect_request(req, fp, *rest)


@cache
def _context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Reading the system's certificates takes longer than a request: once for each setting of `_CERTIFICATES`."""
    return ssl.create_default_context()


def open_url(url: str, headers: Mapping[str, str], policy: Policy) -> http.client.HTTPResponse:
    """Send a GET and return the answer (status 200 or 206), its body unread.

    Raises:
        FetchError: final; `status` is set when a server answered.
        Again: worth another try.
    """
    check_address(url)
    headers = {"User-Agent": f"tinysight/{__version__}", **headers}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked
    https = urllib.request.HTTPSHandler(context=_context(*map(os.environ.get, _CERTIFICATES)))
    opener = urllib.request.build_opener(https, _Redirects(url, policy))
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=policy.timeout)
    except (OSError, http.client.HTTPException) as error:
        raise explain(url, error, policy) from None
    return answer


def explain(url: str, error: BaseException, policy: Policy) -> FetchError | Again:
    """What a failure of the network, or a status that is none of success, means, in one line."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        what = f"the server answers {error.code} {error.reason or ''}".rstrip()
        if error.code in _WORTH_A_TRY:
            wait = error.headers.get("Retry-After") or ""
            return Again(what, float(wait) if wait.isdecimal() else 0.0)
        final = FetchError(url, what, _HINTS.get(error.code, ""))
        final.status = error.code
        return final
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    host, hint = urlsplit(url).hostname, _NETWORK
    match reason:
        case TimeoutError():
            return Again(f"no answer within {policy.timeout:g} s")
        case ConnectionRefusedError():
            what = f"{host} refuses the connection"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionError():
            return Again("the connection was cut")
        case http.client.IncompleteRead():
            return Again("the answer was cut")
        case http.client.HTTPException():
            return Again(f"the server does not speak HTTP ({type(reason).__name__})")
        case ssl.SSLCertVerificationError():
            what, hint = f"the certificate of {host} is not valid: {reason.verify_message}", _CLOCK
        case ssl.SSLError():
            said = (reason.reason or str(reason)).replace("_", " ").lower()
            what, hint = f"no encrypted connection to {host}: {said}", "is a proxy in between?"
        case socket.gaierror():
            what = f"the name {host} cannot be looked up"
        case _:
            said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            what = f"{host} cannot be reached: {said}"
    return FetchError(url, what, hint)
