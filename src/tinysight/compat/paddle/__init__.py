"""PaddleClas' files, read safely without the framework that wrote them (NumPy shore).

`dialect` reads configurations and `deploy_run` deploy configurations; `pdparams` weights, `folder` exported programs;
`to_onnx` translates a program, `bundle` makes a bundle of one; `catalog` lists the published files, and `named_bundle`
finds one by its name and makes a bundle of it; `command` takes the arguments of its command, and has its class
`PaddleClas`, which is also a name of this package. The core asks for all of this through `foreign`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "PaddleClas":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinysight.compat.paddle.command import PaddleClas

    return PaddleClas
