"""Engines run a bundle's network behind one protocol: one module each, listed by one registry.

An engine's module is imported when the engine is asked for, and the engine's package when it runs or writes
a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinysight.engines.base import Engine, Normalization, OnnxNetwork, Tensor, VariantFiles
from tinysight.errors import BundleError, ConfigError
from tinysight.registry import engines

if TYPE_CHECKING:
    from tinysight.bundle import Bundle

__all__ = ["Engine", "Normalization", "OnnxNetwork", "Tensor", "VariantFiles"]

ALIASES = {"onnx": "onnxruntime"}  # engines by what their variants are called, where that differs
_VARIANT = "target/"  # before the name of a variant, where an engine has the same


def get_engine(name: str, where: str = "") -> type[Engine]:
    """The class of an engine, whatever the case and separators of its name.

    Raises:
        UnknownName: there is no such engine; `where` names the place in the message.
        ConfigError: it does not say what an engine has to.
    """
    engine: Any = engines.get(ALIASES.get(name, name), where)
    for attribute in ("reads_onnx", "precisions", "packages"):
        if not hasattr(engine, attribute):
            what = f"the engine {name} has no class variable {attribute}"
            raise ConfigError(where or name, what, "see engines.Engine")
    found: type[Engine] = engine
    return found


def onnx_engines() -> list[str]:
    """Names of the engines that run a bundle's `model.onnx`, ONNX Runtime first."""
    names = [name for name in engines.names() if get_engine(name).reads_onnx]
    return sorted(names, key=lambda name: (name != "onnxruntime", name))


def engine_of(name: str) -> str:
    """The engine that runs `name`: an engine's name, or a variant's, such as `openvino-int8` or `target/ncnn`."""
    base = name.removeprefix(_VARIANT).partition("-")[0]
    return ALIASES.get(base, base)


def version(name: str) -> str:
    """Installed version of the package that runs the engine or variant `name`; "unknown" without one.

    Raises:
        UnknownName: there is no such engine.
    """
    packages = get_engine(engine_of(name)).packages
    return package_version(packages[0]) if packages else "unknown"


def package_version(package: str) -> str:
    """Installed version of a package; "unknown" where it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def open_engine(
    bundle: Bundle, name: str = "onnxruntime", *, precision: str = "f32", threads: int = 1,
    streams: int = 1,
) -> Engine:  # fmt: skip
    """Open a bundle's network in an engine.

    Args:
        bundle: a verified bundle.
        name: an engine that runs `model.onnx` (`onnxruntime`, `openvino`), or one of the bundle's variants
            (`ncnn`, `openvino-int8`); `target/openvino` is the variant `openvino`.
        precision: "f32", "bf16" or "f16", of engines that run `model.onnx` and have a choice.
        threads: CPU threads per call, >= 1.
        streams: calls at the same time, >= 1, where the engine prepares for them.

    Raises:
        UnknownName: there is no such engine.
        BundleError: the bundle has no such variant, or a file of it is missing or altered.
        MissingDependency: the engine is not installed.
    """
    if name == engine_of(name) and get_engine(name).reads_onnx:
        spec = {"name": name, "precision": precision}
        made: Engine = engines.build(spec, model=bundle.model, threads=threads, streams=streams)
        return made
    return open_variant(bundle, name.removeprefix(_VARIANT), threads, streams)


def open_variant(bundle: Bundle, name: str, threads: int = 1, streams: int = 1) -> Engine:
    """Open one of a bundle's variants, a key of `manifest.variants`; raises as `open_engine`."""
    engine = engine_of(name)
    get_engine(engine, str(bundle.folder))  # so that a misspelt name is called unknown
    if (variant := bundle.manifest.variants.get(name)) is None:
        there = ", ".join(sorted(bundle.manifest.variants)) or "none"
        hint = f"it has: {there}; tinysight export --to adds one"
        raise BundleError(str(bundle.folder), f"has no variant {name!r} of its network", hint)
    shape, classes = bundle.manifest.input.shape, len(bundle.manifest.labels)
    contents = {file: bundle.read(file) for file in variant.files}
    files = VariantFiles(contents, variant.precision, shape, classes)
    made: Engine = engines.build({"name": engine}, model=files, threads=threads, streams=streams)
    return made
