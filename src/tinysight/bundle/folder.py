"""A bundle: the folder that determines a prediction. Verified before anything in it is used.

    model.onnx      the network, one self-contained file: images in, probabilities out
    bundle.yaml     the manifest: what goes in, what comes out, every file's hash
    card.md         what it is for, in words (optional)

A bundle is read whole or refused, and written whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinysight.bundle.manifest import File, Manifest, NeededPlugin, parse_manifest
from tinysight.bundle.sealed import EXPORT_AGAIN, read
from tinysight.disk import read_regular, reserved_folder
from tinysight.errors import BundleError, nearest
from tinysight.registry import fold

MODEL = "model.onnx"
MANIFEST = "bundle.yaml"
CARD = "card.md"
SHIPPED = Path(__file__).parents[1] / "bundles"
_MAX_MANIFEST = 16 << 20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        model: the verified bytes of `model.onnx`; an engine is opened on these, never on the file,
            which may change between the check and the use.
    """

    folder: Path
    manifest: Manifest
    model: bytes = field(repr=False)

    @classmethod
    def load(cls, source: str | Path) -> Bundle:
        """The bundle in the folder `source`, or the shipped one of that name.

        Args:
            source: a folder, or a shipped bundle's name in any case, with any separators.

        Raises:
            BundleError: there is no such bundle; a file is missing, truncated or altered; the
                manifest was edited, is not understood or was made by a newer version; a file's
                name leads out of the folder; the network has weights in another file.
        """
        folder = _find(source)
        path = str(folder / MANIFEST)
        manifest = parse_manifest(read_sealed(folder, MANIFEST), path)
        if MODEL not in manifest.files:
            raise BundleError(path, f"lists no {MODEL}", EXPORT_AGAIN)
        if listed := manifest.recipe.get("plugins"):
            from tinysight.plugins import require

            for plugin in read(tuple[NeededPlugin, ...], listed, f"{path}: recipe.plugins"):
                if plugin.needed_for:
                    require(plugin._asdict(), str(folder), ", ".join(plugin.needed_for))
        contents = {name: verified(folder, name, f) for name, f in manifest.files.items()}
        for name, data in contents.items():
            if name.endswith(".onnx"):
                _check_contained(folder / name, data)
        return cls(folder, manifest, contents[MODEL])

    def read(self, name: str) -> bytes:
        """Contents of one of the bundle's files, verified now.

        Raises:
            BundleError: it is not listed, or no longer what was sealed.
        """
        if name not in self.manifest.files:
            raise BundleError(str(self.folder / MANIFEST), f"lists no {name}", EXPORT_AGAIN)
        return verified(self.folder, name, self.manifest.files[name])

    @classmethod
    def write(
        cls, folder: str | Path, manifest: Manifest, files: Mapping[str, bytes], *,
        overwrite: bool = False,
    ) -> Bundle:  # fmt: skip
        """Write a bundle and read it back; the folder appears whole or not at all.

        Args:
            folder: folder of the bundle; its parents are made.
            manifest: contents of `bundle.yaml`; `files` in it is filled in here.
            files: contents by file name, `model.onnx` among them.
            overwrite: True to replace a bundle that is there already. Nothing else is ever replaced.

        Raises:
            BundleError: `folder` exists and may not be replaced, `model.onnx` is not among the
                files, a file's name is not a plain one, or the manifest is not plain data.
        """
        with new_bundle(folder, overwrite=overwrite) as draft:
            fill(draft, manifest, files)
            written = cls.load(draft)
        return replace(written, folder=Path(folder))


def list_bundles() -> list[str]:
    """Names of the bundles that come with the package, sorted."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{MANIFEST}"))


def is_local(source: str | Path) -> bool:
    """True if `source` is a path, or the name of a shipped bundle; else it may be the name of a public model."""
    return Path(source).name != str(source) or Path(source).exists() or bool(_shipped(source))


@contextmanager
def new_bundle(
    folder: str | Path, seal: str = MANIFEST, *, overwrite: bool = False
) -> Iterator[Path]:
    """A draft folder beside `folder` that takes its name when the block ends without an error.

    After an error the draft is removed, and what was at `folder` is untouched.

    Args:
        folder: folder to be made; its parents are made too.
        seal: name of the sealed file, which a folder must have to be replaced.
        overwrite: True to replace such a folder.

    Raises:
        BundleError: `folder` exists and may not be replaced; checked before and after the block.
    """
    target = Path(folder)
    _check_free(target, seal, overwrite)
    try:
        with reserved_folder(target) as work:
            draft, old = work / "new", work / "old"
            draft.mkdir(mode=0o755)
            yield draft
            _check_free(target, seal, overwrite)
            if target.exists():
                target.rename(old)
            try:
                draft.rename(target)
            except BaseException:
                if old.exists():
                    old.rename(target)
                raise
            _flush(target.parent)
    except BundleError as error:  # of a folder that nobody will find
        places = (text.replace(str(draft), str(target)) for text in error.problems[0])
        raise BundleError(*places) from None


def fill(draft: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write `files` and the manifest that seals them into the empty folder `draft`."""
    from tinysight.files import sha256, write_atomic

    if MODEL not in files:
        raise BundleError(str(draft), f"a bundle needs a {MODEL}")
    listed = {name: File(len(data), sha256(data)) for name, data in sorted(files.items())}
    text = manifest._replace(files=listed).to_text()
    for name, data in files.items():
        check_name(draft, name)
        write_atomic(draft / name, data)
    write_atomic(draft / MANIFEST, text)


def _check_free(path: Path, seal: str, overwrite: bool) -> None:
    link = path.is_symlink()
    if not link and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
        return
    kind = "bundle" if seal == MANIFEST else "system"
    if link or not (path / seal).is_file():
        raise BundleError(str(path), f"exists and is no {kind}", "choose another folder")
    if not overwrite:
        raise BundleError(str(path), f"a {kind} already exists here", "pass --force to replace it")


def _check_contained(path: Path, data: bytes) -> None:
    """Refuse a network that names another file for its weights, whatever its engine would make of that."""
    if b"location" not in data:  # the key of the name
        return
    from tinysight.graph.onnx_file import ExternalData, refuse_external_data
    from tinysight.graph.protobuf import WireError

    try:
        refuse_external_data(data)
    except (ExternalData, WireError) as error:
        external = isinstance(error, ExternalData)
        what = (
            "its weights lie in another file, which a bundle never reads"
            if external
            else str(error)
        )
        raise BundleError(str(path), what, EXPORT_AGAIN) from None


def _flush(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_FOREIGN = ("inference.pdmodel", "inference.json", "inference.onnx", "model.pdmodel", "__model__")


def _find(source: str | Path) -> Path:
    folder = Path(source)
    if (folder / MANIFEST).is_file():
        return folder
    if (
        folder / "checkpoints"
    ).is_dir():  # a run, which is exported there unless --out says otherwise
        if (folder / "bundle" / MANIFEST).is_file():
            return folder / "bundle"
        hint = f"`tinysight export --run {source}` makes one of it, {folder / 'bundle'}"
        raise BundleError(str(source), "a run, not a bundle", hint)
    if shipped := _shipped(source):
        return SHIPPED / shipped
    if (folder / "system.yaml").is_file():
        hint = "`tinysight recognize --system` takes it"
        raise BundleError(str(source), "a system, not a bundle", hint)
    if folder.is_dir():
        exported = any((folder / name).is_file() for name in _FOREIGN)
        hint = f"`tinysight models import {source} --out BUNDLE` makes one of it"
        what = f"this folder has no {MANIFEST}"
        raise BundleError(str(source), what, hint if exported else EXPORT_AGAIN)
    if folder.exists():
        raise BundleError(str(source), "is a file; a bundle is a folder", "give its folder")
    none = "no bundle comes with this installation; give a folder"
    raise BundleError(str(source), "no such bundle", nearest(str(source), list_bundles()) or none)


def _shipped(source: str | Path) -> str | None:
    if Path(source).name != str(source):
        return None
    return {fold(name): name for name in list_bundles()}.get(fold(str(source)))


def read_sealed(folder: Path, name: str) -> bytes:
    """Contents of the sealed file `name`, which are of a plausible size.

    Raises:
        BundleError: it is missing, unreadable or far too large.
    """
    path = folder / name
    try:
        return read_regular(path, _MAX_MANIFEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise BundleError(str(path), "far too large to be a manifest", EXPORT_AGAIN) from None
        raise BundleError(str(path), _reason(error), EXPORT_AGAIN) from None


def check_name(folder: Path, name: str, seal: str = MANIFEST) -> None:
    """Refuse a listed name that could lie outside `folder`: separators, a drive, `..`, the sealed file itself."""
    lone = any(0xD800 <= ord(c) <= 0xDFFF for c in name)  # halves of a character
    if name in ("", ".", "..", seal) or any(c in name for c in "/\\:\0") or lone:
        what = f"{name!r} is no plain file name; a bundle reads nothing outside its folder"
        raise BundleError(str(folder / seal), what, EXPORT_AGAIN)


def verified(folder: Path, name: str, entry: File, seal: str = MANIFEST) -> bytes:
    """Contents of a file that the sealed file `seal` lists, checked against its size and SHA-256.

    Raises:
        BundleError: it is missing, altered, or leads out of `folder`.
    """
    check_name(folder, name, seal)
    path = folder / name
    try:
        if path.resolve().parent != folder.resolve():
            raise BundleError(str(path), "a link that leads out of the bundle", "copy the file in")
        data = read_regular(path, entry.size)
    except RuntimeError:  # what Python up to 3.12 makes of links in a circle
        raise BundleError(str(path), "a link that leads nowhere", EXPORT_AGAIN) from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            what = f"altered: more bytes than the {entry.size} that it was sealed with"
            raise BundleError(str(path), what, EXPORT_AGAIN) from None
        raise BundleError(str(path), _reason(error), EXPORT_AGAIN) from None
    if len(data) < entry.size:
        what = f"truncated: {len(data)} bytes, sealed with {entry.size}"
        raise BundleError(str(path), what, EXPORT_AGAIN)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(str(path), "altered: its SHA-256 is not the sealed one", EXPORT_AGAIN)
    return data


def _reason(error: OSError) -> str:
    missing = isinstance(error, FileNotFoundError)
    return "missing" if missing else (error.strerror or str(error)).lower()
