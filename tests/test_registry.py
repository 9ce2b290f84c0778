"""The constructor is the schema: registration, look-up, checking, building."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Le

from tinysight import registry as registry_module
from tinysight.errors import ConfigError, UnknownName
from tinysight.registry import REGISTRIES, Registry


@dataclass(frozen=True)
class Shape:
    """A shape to draw."""

    kind_of: ClassVar[str] = "shape"
    side: Annotated[float, Ge(0)]
    colour: Literal["red", "blue"] = "red"
    offsets: tuple[int, ...] = (0, 0)


def scale(factor: Annotated[float, Le(2)], image: int) -> float:
    """Multiply."""
    return factor * image


def make() -> Registry[Any]:
    registry: Registry[Any] = Registry("thing", "tinysight.errors", runtime=("image",))
    registry.register("square_x1_0")(Shape)
    registry.register("scale")(scale)
    return registry


def test_look_up_ignores_case_and_separators() -> None:
    assert make().resolve("Square-X1.0") == "square_x1_0"
    with pytest.raises(
        UnknownName, match="here: unknown thing 'squre_x1_0'; did you mean 'square_x1_0'"
    ):
        make().get("squre_x1_0", "here")


def test_check_fills_defaults_and_normalises_the_name() -> None:
    full, problems = make().check({"name": "SQUARE_x1_0", "side": 2, "offsets": [1, 2]}, "a.b")
    assert problems == []
    assert full == {"name": "square_x1_0", "side": 2.0, "colour": "red", "offsets": [1, 2]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "scale"}, ["a.factor: required key is missing"]),
        ({"name": "scale", "factor": "2"}, ["a.factor: should be a valid number, got '2'"]),
        (
            {"name": "scale", "factor": 3, "fator": 1},
            [
                "a.factor: should be less than or equal to 2, got 3",
                "a.fator: unknown key; did you mean 'factor'?",
            ],
        ),
        (
            {"name": "scale", "factor": 1, "image": 4},
            ["a.image: set by the program, not by a recipe (in scale)"],
        ),
        ({"name": "scal"}, ["a.name: unknown thing 'scal'; did you mean 'scale'?"]),
        ({"factor": 1}, ["a: expected a thing: a mapping with a name"]),
        (
            {"name": "square_x1_0", "side": -1, "colour": "green"},
            [
                "a.side: should be greater than or equal to 0, got -1",
                "a.colour: should be 'red' or 'blue', got 'green'",
            ],
        ),
    ],
)
def test_check_names_every_problem(spec: Any, expected: list[str]) -> None:
    assert [str(p) for p in make().check(spec, "a")[1]] == expected


def test_build_passes_options_and_runtime_values() -> None:
    assert make().build({"name": "scale", "factor": 1.5}, image=4) == 6.0
    built = make().build({"name": "square_x1_0", "side": 1.0, "offsets": [3]})
    assert built == Shape(1.0, offsets=(3,))
    with pytest.raises(ConfigError, match=r"here\.scale: missing a required argument: 'factor'"):
        make().build({"name": "scale"}, "here", image=4)


def test_registration_refuses_what_a_schema_cannot_say() -> None:
    registry = make()

    def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """No annotation."""

    def open_ended(**options: int) -> None:
        """Anything goes."""

    with pytest.raises(ValueError, match="x has no annotation"):
        registry.register("untyped")(untyped)
    with pytest.raises(ValueError, match=r"may not take \*options"):
        registry.register("open_ended")(open_ended)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("SCALE")(scale)


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_every_component_has_a_schema_and_a_summary(kind: str) -> None:
    registry = REGISTRIES[kind]
    assert registry.names(), f"no {kind} is registered"
    for name in registry:
        assert registry.schema(name).model_json_schema()["type"] == "object"
        assert registry.summary(name), f"{kind} {name} has no docstring"


@pytest.mark.parametrize("kind", [k for k, r in sorted(REGISTRIES.items()) if len(r._homes) > 1])
def test_a_look_up_imports_the_family_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that each name is looked up in is the one that registers it."""
    registry = REGISTRIES[kind]
    modules = {name: registry.get(name).__module__ for name in registry}
    own = set(registry._homes.values())  # what comes with a package's import has none
    homes = {name: module for name, module in modules.items() if module in own}
    loaded: list[str] = []
    monkeypatch.setattr(registry_module.importlib, "import_module", loaded.append)
    for name in homes:
        registry._load(name)
    assert loaded == list(homes.values())


def test_no_loss_has_a_parameter_of_a_term() -> None:
    """`of` and `weight` are keys of a term; each name is in one of the registries."""
    members = [REGISTRIES[kind] for kind in ("loss", "embedding_loss")]
    names = [name for registry in members for name in registry.names()]
    assert len(set(names)) == len(names)
    for registry in members:
        for name in registry:
            assert not {"of", "weight"} & registry.schema(name).model_fields.keys(), name


def test_names_of_somebody_else() -> None:
    """A prefix with a source: checked against the signature of what it gives, and never listed."""

    def source(name: str, where: str) -> Any:
        if name != "square":
            raise UnknownName("foreign thing", name, ["square"], where)

        def built(image: int, side: Annotated[int, Ge(1)] = 2) -> int:
            return image * side

        return built

    registry = make()
    registry.provide("foreign", source)
    full, problems = registry.check({"name": "foreign/square"}, "a")
    assert (full, problems) == ({"name": "foreign/square", "side": 2}, [])
    assert registry.build(full, image=5) == 10
    assert "foreign/square" not in registry.names()
    for spec, words in (
        (
            {"name": "foreign/squar"},
            "a.name: unknown foreign thing 'squar'; did you mean 'square'?",
        ),
        (
            {"name": "foreign/square", "side": 0},
            "a.side: should be greater than or equal to 1, got 0",
        ),
        ({"name": "other/square"}, "a.name: unknown thing 'other/square'"),
    ):
        assert str(registry.check(spec, "a")[1][0]).startswith(words)
