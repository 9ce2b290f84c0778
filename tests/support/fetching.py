"""What the tests of downloads share: a small body, an impatient policy, and what a refusal looks like."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tinysight.errors import FetchError
from tinysight.fetch import Policy, download

QUICK = Policy(attempts=3, backoff=0.005, timeout=2.0)
BODY = bytes(range(256)) * 4000  # 1 MB
SHA = hashlib.sha256(BODY).hexdigest()


def refused(url: str, path: Path, policy: Policy = QUICK, sha256: str | None = None) -> str:
    """The one-line message of a download that must fail, and leaves no file."""
    with pytest.raises(FetchError) as caught:
        download(url, path, policy=policy, sha256=sha256)
    assert not path.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message
