"""A server, and an environment without settings of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.file_server import FileServer


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TINYSIGHT_OFFLINE", "TINYSIGHT_CACHE", "TINYSIGHT_MIRROR", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running
