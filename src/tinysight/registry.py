"""Components by name: the constructor is the schema.

A component is a class or a function with typed parameters, registered under one name. Its signature validates the YAML
that asks for it, fills in the defaults, feeds the JSON Schema and the documentation. Look-up ignores case and
separators, so `PPLCNet_x1_0` finds `pplcnet_x1_0`.

Each registry knows its home modules, which are imported at the first look-up: a recipe may be read before torch is.
Where there is one module a family, a look-up imports the one that the name begins like, and the rest only if that lacks
the name.
"""

from __future__ import annotations

import importlib
import inspect
import operator
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, partial
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Union

from tinysight.errors import ConfigError, Problem, UnknownName, join, missing_dependency

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Constructors of one kind of component.

    Args:
        kind: what one entry is, in an error message ("backbone").
        home: the module whose import registers the built-in entries; or several, each under the beginning that the
            folded names of its entries have (the longest that fits counts).
        runtime: parameters that the program passes, which a recipe may not set (`num_classes`).
    """

    def __init__(
        self, kind: str, home: str | Mapping[str, str], runtime: tuple[str, ...] = ()
    ) -> None:
        self.kind = kind
        self._homes = {"": home} if isinstance(home, str) else home
        self.runtime = runtime
        self._entries: dict[str, Callable[..., T]] = {}
        self._names: dict[str, str] = {}  # folded spelling -> name
        self._schemas: dict[str, type[BaseModel]] = {}
        self._sources: dict[str, Callable[[str, str], Callable[..., T]]] = {}  # by prefix
        self._given: dict[str, Callable[..., T]] = {}  # what they gave

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator: make a class or function available under `name`.

        Raises:
            ValueError: the name is taken, or a parameter has no annotation or is `*args` / `**kwargs`. A plugin may
                register its own names again.
        """

        def add(target: C) -> C:
            folded, plugin = fold(name), _plugin.get()
            home = str(getattr(target, "__module__", ""))
            if home.startswith("tinysight.") and not home.startswith("tinysight.plugins."):
                plugin = None  # one of ours, which the plugin imports
            taken = self._names.get(folded)
            first = _sources.get(id(self._entries[taken])) if taken else None
            if taken is not None and (first is None or first != plugin):
                if first is not None and plugin is None:  # one of ours, imported later
                    raise ConfigError(f"plugin {first}", f"{name!r} is a {self.kind} already")
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            for parameter in self._parameters(target):
                if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    raise ValueError(f"{self.kind} {name!r} may not take *{parameter.name}")
                if parameter.annotation is parameter.empty:
                    raise ValueError(f"{self.kind} {name!r}: {parameter.name} has no annotation")
            if taken is not None:
                _sources.pop(id(self._entries[taken]))
            self._names[folded] = name
            self._entries[name] = target
            self._schemas.pop(name, None)
            if plugin is not None:
                _sources[id(target)] = plugin
            return target

        return add

    def provide(self, prefix: str, source: Callable[[str, str], Callable[..., T]]) -> None:
        """Names `prefix/...` are somebody else's: `source(rest, where)` gives the component, or raises.

        They are not listed, and each has to be spelt exactly.
        """
        self._sources[prefix] = source

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        _load_installed()
        return sorted(self._entries)

    def plugin(self, name: str) -> str | None:
        """The source of the plugin that registered `name`; None: it is one of ours."""
        return _sources.get(id(self._target(self.resolve(name))))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def resolve(self, name: str, where: str = "") -> str:
        """The registered spelling of `name`, whatever its case and separators.

        Raises:
            UnknownName: nothing like it is registered; the error names the nearest.
        """
        prefix, slash, rest = name.partition("/")
        if slash:
            self._load(prefix)
            if prefix in self._sources:
                self._given[name] = self._sources[prefix](rest, where)
                return name
        found = self._names.get(fold(name))
        # Its own family, then all, then what is installed beside.
        for load in (partial(self._load, name), self._load, _load_installed):
            if found is None:
                load()
                found = self._names.get(fold(name))
        if found is None:
            raise UnknownName(self.kind, name, self.names(), where)
        return found

    def get(self, name: str, where: str = "") -> Callable[..., T]:
        """The class or function registered under `name`; raises as `resolve`."""
        return self._target(self.resolve(name, where))

    def _target(self, resolved: str) -> Callable[..., T]:
        return self._given[resolved] if resolved in self._given else self._entries[resolved]

    def build(self, spec: Mapping[str, Any], where: str = "", **runtime: Any) -> T:
        """Call the component that `spec` names with its other keys and those `runtime` arguments that it takes.

        `spec` was checked in full when its recipe was loaded, but a bundle's may say anything: values are held to the
        types and ranges of the parameters, and what the constructor still refuses becomes a `ConfigError`.
        """
        options = dict(spec)
        name = str(options.pop("name", ""))
        target = self.get(name, where)
        hints = _hints(target)
        wrong = next((k for k, v in options.items() if not _fits(hints.get(k), v)), None)
        taken = {p.name for p in self._parameters(target)}
        runtime = {k: v for k, v in runtime.items() if k in taken}
        try:
            inspect.signature(target).bind(**options, **runtime)
            made = target(**{k: _frozen(v) for k, v in options.items()}, **runtime)
        except Exception as error:
            if wrong is None and not isinstance(error, TypeError | ValueError):
                raise
            if wrong is None or not isinstance(error, TypeError):  # which says less than the key
                raise ConfigError(join(where, name), str(error)) from error
        if wrong is not None:
            what = f"{str(options[wrong])[:60]!r} has the wrong type or is out of range"
            raise ConfigError(join(where, name, wrong), what)
        return made

    def check(self, spec: Any, where: str) -> tuple[dict[str, Any], list[Problem]]:
        """`spec` with the registered name and every default filled in, or what is wrong with it."""
        from tinysight.validation import validate  # prediction starts without

        if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
            return {}, [Problem(where, f"expected a {self.kind}: a mapping with a name")]
        try:
            name = self.resolve(spec["name"], join(where, "name"))
        except UnknownName as error:
            return {}, list(error.problems)
        options = {k: v for k, v in spec.items() if k != "name"}
        what = f"set by the program, not by a recipe (in {name})"
        set_here = [key for key in self.runtime if options.pop(key, None) is not None]
        problems = [Problem(join(where, key), what) for key in set_here]
        value, found = validate(self.schema(name), options, where)
        full = {} if value is None else {"name": name, **value.model_dump(mode="json")}
        return full, problems + found

    def schema(self, name: str) -> type[BaseModel]:
        """The strict pydantic model of the parameters that a recipe may set."""
        name = self.resolve(name)
        if name not in self._schemas:
            import annotated_types
            from pydantic import ConfigDict, create_model

            target = self._target(name)
            init = target.__init__ if inspect.isclass(target) else target
            # A module that prediction loads imports its ranges (`Ge`) for type checkers only: 15 ms.
            ranges = {n: getattr(annotated_types, n) for n in annotated_types.__all__}
            ranges["annotated_types"] = annotated_types
            hints = typing.get_type_hints(init, localns=ranges, include_extras=True)
            own = (p for p in self._parameters(target) if p.name not in self.runtime)
            fields: dict[str, Any] = {
                p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in own
            }
            config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())
            self._schemas[name] = create_model(name, __config__=config, **fields)
        return self._schemas[name]

    def summary(self, name: str) -> str:
        """First line of the component's docstring."""
        return (inspect.getdoc(self.get(name)) or "").split("\n", 1)[0]

    @staticmethod
    def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
        return list(inspect.signature(target).parameters.values())

    def _load(self, name: str = "") -> None:
        """Import the home of `name`; without one, all."""
        fitting = [start for start in self._homes if fold(name).startswith(start)]
        wanted = [max(fitting, key=len)] if name and fitting else list(self._homes)
        try:
            for start in wanted:
                importlib.import_module(self._homes[start])
        except ModuleNotFoundError as error:
            raise (missing_dependency(error, f"a {self.kind}") or error) from None


class LossTerms(Registry[Any]):
    """The losses of several registries, with the keys that one has as a term of a sum.

    A term is `{name: ..., of: ..., weight: ..., key: value}`: `of` is the output that the loss is computed from, or
    several, each of which gives a term; `weight` is what its value is multiplied by. A loss that compares two outputs
    has `between: [one, other]` in place of `of`. `on` says which images count, where some have no label.

    Args:
        members: registries by the default of `of`; the empty string for losses that compare two outputs.
    """

    def __init__(self, members: Mapping[str, Registry[Any]]) -> None:
        runtime = tuple(dict.fromkeys(name for r in members.values() for name in r.runtime))
        super().__init__("loss_term", {}, runtime)
        self._members = members

    def names(self) -> list[str]:
        """All names of the members, sorted."""
        return sorted(name for registry in self._members.values() for name in registry.names())

    def resolve(self, name: str, where: str = "") -> str:
        """As `Registry.resolve`, in any of the members."""
        return self._member(name, where)[1].resolve(name, where)

    def schema(self, name: str) -> type[BaseModel]:
        """The parameters of the loss, `of` or `between`, `weight` and `on`."""
        default, registry = self._member(name)
        name = registry.resolve(name)
        if name not in self._schemas:
            from annotated_types import Ge, MinLen
            from pydantic import create_model

            several = str | Annotated[tuple[str, ...], MinLen(1)]
            keys: Any = {"of": (several, default)}
            if not default:
                keys = {"between": (tuple[several, several], ...)}
            keys["weight"] = (Annotated[float, Ge(0)], 1.0)
            keys["on"] = (Literal["all", "labelled"] | None, None)
            self._schemas[name] = create_model(name, __base__=registry.schema(name), **keys)
        return self._schemas[name]

    def _target(self, resolved: str) -> Callable[..., Any]:
        return self._member(resolved)[1]._target(resolved)

    def _member(self, name: str, where: str = "") -> tuple[str, Registry[Any]]:
        for default, registry in self._members.items():
            with suppress(UnknownName):
                registry.resolve(name)
                return default, registry
        raise UnknownName("loss", name, self.names(), where)


def _load_installed() -> None:
    """Import what installed packages register."""
    from tinysight.plugins import load_installed

    load_installed()


_plugin: ContextVar[str | None] = ContextVar("plugin", default=None)
_sources: dict[int, str] = {}  # of the components of plugins, by identity; a registry keeps each


@contextmanager
def registered_by(plugin: str) -> Iterator[None]:
    """What is registered meanwhile belongs to the plugin of this source."""
    token = _plugin.set(plugin)
    try:
        yield
    finally:
        _plugin.reset(token)


def fold(name: str) -> str:
    """`name` without case and separators: `PPLCNet_x1_0` and `pplcnet-x1-0` are one name."""
    return "".join(c for c in name.lower() if c.isalnum())


def _frozen(value: Any) -> Any:
    """Lists as tuples, as the strict schema gives them to a frozen component."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class _Bound(NamedTuple):
    """What `annotated_types` calls by the same name; importing that takes too long for a prediction."""

    name: str
    limit: Any


_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "Ge": operator.ge, "Gt": operator.gt, "Le": operator.le, "Lt": operator.lt,
    "MinLen": lambda value, least: len(value) >= least, "MaxLen": lambda value, most: len(value) <= most,
}  # fmt: skip
_BOUNDS = {name: partial(_Bound, name) for name in _HOLDS}


@cache
def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Types of the parameters; empty where one of them cannot be resolved here."""
    init = target.__init__ if inspect.isclass(target) else target
    with suppress(NameError, AttributeError):
        return typing.get_type_hints(init, localns=_BOUNDS, include_extras=True)
    return {}


def _fits(hint: Any, value: Any) -> bool:
    """Whether plain data is of a type of plain data, and in its range; of other types everything is."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = (part for part in parts[1:] if isinstance(part, _Bound))
        return _fits(parts[0], value) and all(_HOLDS[b.name](value, b.limit) for b in bounds)
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        many = parts[1:] == (Ellipsis,)
        each = parts[:1] * len(value) if many else parts
        return len(each) == len(value) and all(map(_fits, each, value))
    if hint in (int, float):
        number = not isinstance(value, bool) and isinstance(
            value, Integral if hint is int else Real
        )
        return number and (hint is int or abs(value) <= sys.float_info.max)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _homes(package: str, *names: str, **modules: str) -> dict[str, str]:
    """Modules of a package by the beginnings of the names in them, `*` for all others; `names` are both."""
    starts = {**{name: name for name in names}, **modules}
    pairs = ((start, module) for module, several in starts.items() for start in several.split())
    return {start.strip("*"): f"tinysight.{package}.{module}" for start, module in pairs}


_NAMED = ("mobilenetv1", "mobilenetv3", "pphgnet", "pphgnetv2", "pplcnet", "pplcnetv2", "res2net")
_BACKBONES = _homes(
    "models", *_NAMED, "resnet", efficientnet_lite="efficientnetlite", swin="swintransformer",
    from_timm="timm", from_program="program",
)  # fmt: skip
_FORMATS = ("executorch", "litert", "mnn", "ncnn", "onnxruntime", "openvino")
_ENGINES = _homes("engines", *_FORMATS, torchscript="pt2 torchscript")
_METRICS = _homes(
    "metrics", "calibration", "retrieval", classification="*", binary="rocauc tpratfpr",
    multilabel="bestmeanaccuracy hamming meanaccuracy multilabel", detection="coco",
)  # fmt: skip
_POSTPROCESSES = _homes(
    "tasks", "multilabel", attributes="*", classification="scores threshold topk",
    detection="boxes", embedding="binarize embedding",
)  # fmt: skip
_TASKS = _homes("tasks", "classification", "detection", "embedding", "multilabel")
_TRANSFORMS = _homes(  # those of prediction are there with the package
    "transforms.augment", geometry="*",
    boxes="randomboxcrop randomsize", auto_augment="autoaugment randaugment",
    blur="kernelblur randomblur", classic="augmix classic",
    erasing="cutout gridmask hideandseek randomerasing",
    photometric="colorjitter pcalighting randombrightness randomgrayscale randomjpeg",
)  # fmt: skip

_Any = Registry[Any]
backbones = _Any("backbone", _BACKBONES, ("num_classes",))
batch_transforms = _Any("batch_transform", "tinysight.data.mix")
_SHAPES = ("label_ratio", "student_shapes", "teacher_shapes")
_TAUGHT = _homes("losses", distillation="*", features="afd mgd pefd")
detectors = _Any("detector", "tinysight.models.detector.picodet", ("backbone", "num_classes"))
distillation_losses = _Any("distillation_loss", _TAUGHT, _SHAPES)
embedding_losses = _Any("embedding_loss", "tinysight.losses.embedding", ("features", "num_classes"))
engines = _Any("engine", _ENGINES, ("model", "streams", "threads"))
heads = _Any("head", "tinysight.models.heads", ("in_features", "num_classes"))
_LOSSES = _homes("losses", classification="*", detection="simota taskaligned")
losses = _Any("loss", _LOSSES, ("label_ratio",))
loss_terms = LossTerms({"logits": losses, "embedding": embedding_losses, "": distillation_losses})
# The last two of retrieval, where they are known.
_OF_METRICS = ("scores", "labels", "queries", "cameras")
metrics: Registry[dict[str, float]] = Registry("metric", _METRICS, _OF_METRICS)
necks = _Any("neck", "tinysight.models.heads", ("in_features",))
optimizers = _Any("optimizer", "tinysight.training.optim", ("params",))
postprocesses = _Any("postprocess", _POSTPROCESSES, ("labels",))
samplers = _Any("sampler", "tinysight.data.samplers")
schedules = _Any("schedule", "tinysight.training.schedule", ("lr", "epochs", "steps_per_epoch"))
tasks = _Any("task", _TASKS)
transforms = _Any("transform", _TRANSFORMS)

REGISTRIES = {r.kind: r for r in tuple(globals().values()) if isinstance(r, Registry)}
