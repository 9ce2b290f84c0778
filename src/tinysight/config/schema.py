"""What a training run is: frozen, strict sections. Unknown keys, wrong types and out-of-range numbers are errors.

The descriptions here are the help of `tinysight recipe schema`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A mapping of a recipe."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Component(BaseModel):
    """`{name: ..., key: value}`; the keys are those of the component that is registered under the name."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str

    @property
    def spec(self) -> dict[str, Any]:
        """The mapping that `Registry.build` takes."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Kind:
    """Marks a component slot with the registry that its name is looked up in."""

    name: str

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> dict[str, Any]:
        return {"$kind": self.name}  # filled in by `json_schema`, once the registries are loaded


Transform = Annotated[Component, Kind("transform")]


class Split(Section):
    """Labelled pictures."""

    list: Annotated[
        str, Field(description="List file, relative to data.root; a line is `path label`")
    ]
    limit: Annotated[int, Field(ge=1, description="Use the first N lines only")] | None = None


class Data(Section):
    """Where the pictures are and how they become batches."""

    root: Annotated[str, Field(description="Folder that the paths in the lists are relative to")]
    labels: Annotated[tuple[str, ...], Field(min_length=2, description="Label names by class id")]
    train: Split
    eval: Split
    delimiter: (
        Annotated[
            str,
            Field(
                min_length=1, description="Between path and label; default: the last blank or tab"
            ),
        ]
        | None
    ) = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    eval_batch_size: Annotated[int, Field(ge=1)] = 64
    workers: Annotated[
        int, Field(ge=0, description="Loader processes; 0 loads in the main one")
    ] = 2
    max_bad_fraction: Annotated[
        float, Field(ge=0, le=1, description="Stop when more pictures than this are unreadable")
    ] = 0.01


class Pixels(Section):
    """From decoded picture to network input. `eval` travels in the bundle."""

    train: tuple[Transform, ...]
    eval: Annotated[tuple[Transform, ...], Field(min_length=1)]


class Model(Section):
    """The network."""

    backbone: Annotated[Component, Kind("backbone")]
    pretrained: (
        Annotated[
            bool | str,
            Field(
                description="Weights to begin with: true, ssld, ssld_stage1 (published ones), a file, an address"
            ),
        ]
        | None
    ) = None
    skip: Annotated[
        tuple[str, ...],
        Field(
            description="Parts that keep fresh weights: `classifier`, or the beginning of an entry's name"
        ),
    ] = ()
    batch_norm_variance: Annotated[
        Literal["unbiased", "biased"],
        Field(description="Batch variance that enters the running one; PaddlePaddle: biased"),
    ] = "unbiased"


class Train(Section):
    """The run."""

    epochs: Annotated[int, Field(ge=1)]
    optimizer: Annotated[Component, Kind("optimizer")]
    schedule: Annotated[Component, Kind("schedule")] = Component(name="cosine")
    lr: Annotated[float, Field(gt=0, description="Peak rate of the whole batch, after warm-up")]
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    eval_every: Annotated[int, Field(ge=1, description="Epochs between evaluations")] = 1
    checkpoint_every: (
        Annotated[int, Field(ge=1, description="Steps between checkpoints, besides one an epoch")]
        | None
    ) = None


class Export(Section):
    """The bundle."""

    postprocess: Annotated[Component, Kind("postprocess")]
    opset: Annotated[int, Field(ge=17, le=21)] = 18


class Recipe(Section):
    """A training run, complete: the same recipe, data and seed give the same weights."""

    task: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", description="Name of the model it makes")]
    description: str = ""
    data: Data
    transforms: Pixels
    model: Model
    loss: Annotated[Component, Kind("loss")]
    train: Train
    metrics: Annotated[
        tuple[Annotated[Component, Kind("metric")], ...],
        Field(min_length=1, description="The first value of the first one picks the best epoch"),
    ]
    export: Export
