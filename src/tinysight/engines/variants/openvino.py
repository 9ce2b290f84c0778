"""OpenVINO's own form, as `.xml` and `.bin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinysight.engines.openvino import OpenVinoSession, Precision

# What is calculated in; the form's numbers stay as they are written. An int8 form says itself which
# operators are int8, and the rest of it is exact.
_HINTS: dict[str, Precision] = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoTargetSession(OpenVinoSession):
    """A network as OpenVINO's intermediate representation, as fast as the engine `openvino`.

    Args:
        files: contents of the form's files by name.
        shape: of the network's input, which the files tell too.
        classes: as told by the files.
        precision: the form's: "fp32", "fp16", "bf16" or "int8".
        threads: of one inference.
        streams: inferences that go on at the same time.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        shape: Sequence[int | None],
        classes: int,
        precision: str = "fp32",
        threads: int = 1,
        streams: int = 1,
    ) -> None:
        self._file, program = next((n, data) for n, data in files.items() if n.endswith(".xml"))
        weights = next(data for name, data in files.items() if name.endswith(".bin"))
        super().__init__((program, weights), threads, streams, _HINTS[precision])
