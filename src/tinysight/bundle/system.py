"""A system: a folder of bundles and the rules by which they work together. Verified as a bundle is.

    system.yaml     the manifest: members, rules, labels; sealed by a digest
    detector/       a bundle
    embedder/       another

A member is pinned by the size and the SHA-256 of its `bundle.yaml`, which seals its other files.
"""

# The annotations here are the schema of `system.yaml`, so they are not postponed (see `sealed`).
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from tinysight.bundle import folder as files
from tinysight.bundle.folder import MANIFEST, Bundle, new_bundle
from tinysight.bundle.manifest import File
from tinysight.bundle.sealed import Rule, as_tree, read_keys, sealed_text, unseal
from tinysight.errors import BundleError

SYSTEM = "system.yaml"
FORMAT = 1

_Share = Annotated[float, Rule(lambda v: 0 <= v <= 1, "a number from 0 to 1")]
_Count = Annotated[int, Rule(lambda v: v >= 1, "a whole number from 1")]


class Rules(NamedTuple):
    """How an image becomes matches: boxes from the detector, a vector for each, the gallery's nearest.

    The defaults are those of PaddleClas' `inference_general.yaml`.

    Attributes:
        threshold: lowest score of a box, in [0, 1].
        max_detections: most boxes of an image; 0: none, just the whole image.
        nms_threshold: overlap (IoU) in [0, 1] from which the lower-scoring of two matches is dropped.
        append_whole_image: True to match the whole image too, after the boxes.
        top_k: nearest gallery entries of a box that vote on its label, >= 1.
        score_threshold: lowest similarity that is a match, or largest distance in a gallery of distances.
    """

    threshold: _Share = 0.2
    max_detections: Annotated[int, Rule(lambda v: v >= 0, "a whole number from 0")] = 5
    nms_threshold: _Share = 0.05
    append_whole_image: bool = True
    top_k: _Count = 5
    score_threshold: float = 0.5


class SystemManifest(NamedTuple):
    """Everything that determines what a system answers, apart from its members and the gallery.

    Attributes:
        name: name of the system.
        members: `bundle.yaml` of each member's bundle, by the name of the member and of its folder.
        rules: how the members work together.
        labels: names of what the system recognises, where they are fixed.
        description: purpose of the system in a sentence.
        licence: licence of the system.
        made_with: versions of the packages that made it.
        created: UTC time, ISO 8601.
    """

    name: str
    members: Annotated[dict[str, File], Rule(bool, "a mapping of 1 or more bundles")]
    rules: Rules = Rules()
    labels: tuple[str, ...] = ()
    description: str = ""
    licence: str = ""
    made_with: dict[str, str] = {}
    created: str = ""


@dataclass(frozen=True)
class System:
    """A verified system.

    Attributes:
        folder: where it lies.
        manifest: contents of `system.yaml`.
        members: the verified bundles by name.
    """

    folder: Path
    manifest: SystemManifest
    members: Mapping[str, Bundle]

    @classmethod
    def load(cls, folder: str | Path) -> "System":
        """The system in `folder`, every member verified.

        Raises:
            BundleError: there is none; the manifest or a member is missing, altered or too new; a
                member's name leads out of the folder.
        """
        folder = Path(folder)
        where = str(folder / SYSTEM)
        _, tree = unseal(files.read_sealed(folder, SYSTEM), where, FORMAT)
        keys = SystemManifest._fields
        manifest: SystemManifest = read_keys(SystemManifest, tree, where, keys, keys)
        members = {}
        for name, entry in manifest.members.items():
            files.check_name(folder, name, SYSTEM)
            if (folder / name).resolve().parent != folder.resolve():
                what = "a link that leads out of the system"
                raise BundleError(str(folder / name), what, "copy the bundle in")
            files.verified(folder / name, MANIFEST, entry, SYSTEM)
            members[name] = Bundle.load(folder / name)
        return cls(folder, manifest, members)

    @classmethod
    def write(
        cls, folder: str | Path, manifest: SystemManifest, members: Mapping[str, Bundle], *,
        overwrite: bool = False,
    ) -> "System":  # fmt: skip
        """Copy bundles into a system and read it back; the folder appears whole or not at all.

        Args:
            folder: folder of the system; its parents are made.
            manifest: contents of `system.yaml`; `members` in it is filled in here.
            members: the bundles by name.
            overwrite: True to replace a system that is there already. Nothing else is ever replaced.

        Raises:
            BundleError: `folder` exists and may not be replaced, a member's name is not a plain one,
                there is no member, or a bundle was altered since it was loaded.
        """
        from tinysight.files import sha256, write_atomic

        with new_bundle(folder, SYSTEM, overwrite=overwrite) as draft:
            entries = {}
            for name, bundle in members.items():
                files.check_name(draft, name, SYSTEM)
                for file in bundle.manifest.files:
                    write_atomic(draft / name / file, bundle.read(file))
                text = files.read_sealed(bundle.folder, MANIFEST)
                write_atomic(draft / name / MANIFEST, text)
                entries[name] = File(len(text), sha256(text))
            tree = as_tree(manifest._replace(members=entries))
            write_atomic(draft / SYSTEM, sealed_text(FORMAT, tree, manifest.name))
            written = cls.load(draft)
        moved = {n: replace(b, folder=Path(folder) / n) for n, b in written.members.items()}
        return replace(written, folder=Path(folder), members=moved)
