"""Reads an image from its address, where the owner of a server allows that: from listed hosts and public networks only.

A name is resolved once, and the connection goes to the address that was checked; redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Collection
from urllib.parse import quote, urlsplit

from tinysight.serving.limits import Refusal

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is global so far


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public network, also where it carries another inside."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    return address in _UNICAST and address.is_global


class RemoteImages:
    """Reads images from `hosts`.

    Args:
        hosts: their names, each with a port if it is not the usual one.
        seconds: longest time for all of it.
        admissible: whether an IP address may be connected to.
    """

    def __init__(
        self, hosts: Collection[str], seconds: float = 10.0,
        admissible: Callable[[str], bool] = is_public,
    ) -> None:  # fmt: skip
        self._hosts = {host.lower() for host in hosts}
        self._seconds, self._admissible = seconds, admissible

    def __call__(self, url: str, most: int) -> bytes:
        """The bytes at `url`, at most `most`.

        Raises:
            Refusal: it may not be read, or cannot be.
        """
        try:
            parts = urlsplit(url)
            host, usual = (parts.hostname or "").lower(), _PORTS.get(parts.scheme, 0)
            port = usual if parts.port is None else parts.port
            plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
        except ValueError:
            raise Refusal(400, "the address of the image is none") from None
        known = f"{host}:{port}" in self._hosts or (port == usual and host in self._hosts)
        if not plain or parts.scheme not in _PORTS or "@" in parts.netloc or not known:
            raise Refusal(400, "images are read over http(s) from the hosts that this server lists")
        try:
            return self._read(parts.scheme, host, port, f"{parts.path or '/'}?{parts.query}", most)
        except (OSError, http.client.HTTPException, UnicodeError):
            raise Refusal(400, "the image cannot be read from its address") from None

    def _read(self, scheme: str, host: str, port: int, path: str, most: int) -> bytes:
        found = {str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        if not found or not all(map(self._admissible, found)):
            raise Refusal(400, "the image's host is not in the public network")
        connected = socket.create_connection((sorted(found)[0], port), self._seconds)
        watchdog = threading.Timer(self._seconds, connected.shutdown, (socket.SHUT_RDWR,))
        watchdog.start()
        connection = http.client.HTTPConnection(host, port)
        try:
            if scheme == "https":
                context = ssl.create_default_context()
                connected = context.wrap_socket(connected, server_hostname=host)
            connection.sock = connected
            connection.request("GET", quote(path.rstrip("?"), safe="/?&=%:+,;@~!$'()*"))
            with connection.getresponse() as response:
                if response.status != 200:
                    raise Refusal(400, f"the image's host answers with {response.status}")
                data = response.read(most + 1)
                if len(data) > most:
                    raise Refusal(413, f"the image has more than {most} bytes")
                if response.length:  # what is missing of it
                    raise Refusal(400, "the image cannot be read whole from its address")
            return data
        finally:
            watchdog.cancel()
            connection.close()
            connected.close()
