"""What is written for other servers: a model repository for Triton, manifests and an image."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format

from support.bundles import tiny_bundle, tiny_detector
from support.commands import tinysight
from tinysight.bundle import Bundle
from tinysight.cli.serve import add_arguments
from tinysight.serving.grpc_api import MESSAGES

DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"


def test_triton_repository(tmp_path: Path) -> None:
    made, boxes = tiny_bundle(tmp_path / "a"), tiny_detector(tmp_path / "b")
    words = [
        "--write-triton",
        tmp_path / "repository",
        f"light={made.folder}",
        f"light:2={made.folder}",
        f"boxes={boxes.folder}",
    ]
    done = tinysight("serve", *words)
    assert done.code == 0, done.err
    root = tmp_path / "repository"
    assert sorted(p.name for p in root.iterdir()) == [
        "boxes",
        "boxes.image",
        "light",
        "light.image",
    ]
    for folder in root.iterdir():
        text = (folder / "config.pbtxt").read_text("ascii")
        config = text_format.Parse(text, MESSAGES["ModelConfig"]())
        assert config.name == folder.name
        assert config.platform == "onnxruntime_onnx" or config.backend == "python"
    config = text_format.Parse(
        (root / "boxes" / "config.pbtxt").read_text("ascii"), MESSAGES["ModelConfig"]()
    )
    kinds = MESSAGES["ModelConfig"].DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
    found = {
        row.name: (kinds[row.data_type].name, list(row.dims))
        for row in (*config.input, *config.output)
    }
    assert found["images"] == ("TYPE_FP32", [-1, 3, 8, 8])
    assert found["counts"] == ("TYPE_INT32", [-1])
    assert (root / "light" / "2" / "model.onnx").read_bytes() == made.model
    assert Bundle.load(root / "light.image" / "1" / "bundle").model == made.model
    compile((root / "light.image" / "1" / "model.py").read_text("utf-8"), "model.py", "exec")
    assert tinysight("serve", *words).code == 2  # it is there already


def pod(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    return spec["predictor"] if "predictor" in spec else spec["template"]["spec"]  # type: ignore[no-any-return]


def options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kserve.yaml"])
def test_manifests_are_safe_and_their_options_exist(name: str) -> None:
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))
    (one,) = [d for d in documents if d["kind"] in ("Deployment", "InferenceService")]
    found = pod(one)
    (container,) = found["containers"]
    security = {**found.get("securityContext", {}), **container["securityContext"]}
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    entry = re.search(
        r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert entry
    args = options([*yaml.safe_load(entry[1])[2:], *map(str, container["args"])])
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == {args.port, *([] if args.no_grpc else [args.grpc_port])}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert args.token_file in mounts
    assert set(mounts.values()) == {volume["name"] for volume in found["volumes"]}
    probe = container["readinessProbe"]["httpGet"]
    assert probe["path"] == "/v2/health/ready"
    assert {"requests", "limits"} <= container["resources"].keys()
    if name == "kubernetes.yaml":
        (service,) = [d for d in documents if d["kind"] == "Service"]
        assert (
            service["spec"]["selector"].items()
            <= one["spec"]["template"]["metadata"]["labels"].items()
        )
        names = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} == names
        assert (
            found["terminationGracePeriodSeconds"] > args.drain + args.deadline + args.body_seconds
        )


def test_the_image_runs_without_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    words = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert words[0] == "FROM"
    assert words.index("USER") < words.index("ENTRYPOINT")
    user = next(line for line in lines if line.startswith("USER"))
    assert user.split()[1] not in ("0", "root")
    root = DEPLOY.parents[1]
    bundle = next(line for line in lines if line.startswith("ARG BUNDLE=")).partition("=")[2]
    assert (root / bundle / "bundle.yaml").is_file()
