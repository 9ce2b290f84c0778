"""Programs of others, in environments of their own: KServe's client, Triton, schemathesis; and a fresh install."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as over_http

from support.bundles import tiny_bundle, tiny_detector
from support.commands import SRC, execute, tinysight
from support.environments import REPO, environment
from support.serving import Server
from tinysight import Classifier
from tinysight.certificate.compare import edge_case_files

pytestmark = pytest.mark.slow

KSERVE = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

def request(binary):
    given = InferInput(name="images", shape=[2, 3, 8, 8], datatype="FP32")
    given.set_data_from_numpy(np.ones((2, 3, 8, 8), np.float32), binary_data=binary)
    return InferRequest(model_name="brightness", infer_inputs=[given], request_id="7")

async def main():
    rest, base = InferenceRESTClient(RESTConfig(protocol="v2")), "http://" + sys.argv[1]
    assert await rest.is_server_live(base) and await rest.is_server_ready(base)
    assert await rest.is_model_ready(base, "brightness")
    grpc = InferenceGRPCClient(sys.argv[2])
    assert await grpc.is_server_live() and await grpc.is_server_ready() and await grpc.is_model_ready("brightness")
    for binary in (False, True):
        over_http = await rest.infer(base, request(binary), model_name="brightness")
        for found in (over_http, await grpc.infer(request(binary))):
            assert found.id == "7"
            scores = found.outputs[0].as_numpy()
            assert scores.shape == (2, 2) and (scores[:, 1] > 0.99).all()

asyncio.run(main())
"""


@pytest.fixture
def brightness(tmp_path: Path) -> str:
    return f"brightness={tiny_bundle(tmp_path / 'brightness').folder}"


def test_kserve_client(brightness: str, tmp_path: Path) -> None:
    python = environment("kserve", "kserve>=0.15")
    with Server(tmp_path, brightness) as server:
        done = execute([python, "-c", KSERVE, server.url, server.grpc_url], PYTHONPATH=None)
        assert done.code == 0, done.err


def test_schemathesis(brightness: str, tmp_path: Path) -> None:
    """Every check but one, that what fits the schema is accepted: any bytes fit, and most are no image (422)."""
    from tinysight.serving.limits import new_token

    new_token(tmp_path / "admin")
    boxes = f"boxes={tiny_detector(tmp_path / 'boxes').folder}"
    vector = tiny_bundle(tmp_path / "vector", postprocess={"name": "embedding"}, threshold=None)
    models = [brightness, boxes, f"vector={vector.folder}"]
    program = Path(sys.executable).with_name("schemathesis")
    with Server(tmp_path, *models, "--admin-token-file", tmp_path / "admin") as server:
        words = [
            program,
            "run",
            f"http://{server.url}/openapi.json",
            "--seed",
            "1",
            "--max-examples",
            "60",
        ]
        done = execute(
            [*words, "--exclude-checks", "positive_data_acceptance", "--no-color"], cwd=tmp_path
        )
        assert done.code == 0, done.out[-4000:]


def test_real_triton(tmp_path: Path) -> None:
    """Triton of the wheel has the Python backend alone; its bindings need NumPy 1."""
    needed = [
        "nvidia-pytriton==0.7.0",
        "numpy<2",
        "opencv-python-headless<5",
        "onnxruntime<1.32",
        "simplejpeg",
        "pydantic>=2",
        "pyyaml",
    ]
    python = environment("triton", *needed)
    (home,) = python.parents[1].glob("lib/python*/site-packages")
    (home / "checkout.pth").write_text(SRC, "utf-8")  # so that `import tinysight` finds this one
    root = home / "pytriton" / "tritonserver"
    backends = shutil.copytree(root / "backends", tmp_path / "backends")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(
        root / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python"
    )
    name = "clarity_assessment.image"
    assert tinysight("serve", "--write-triton", tmp_path / "models", "clarity_assessment").code == 0
    ports = [free_port() for _ in range(3)]
    libraries = f"{home / 'nvidia_pytriton.libs'}:{home / 'pytriton' / 'external_libs'}:{sys.base_prefix}/lib"
    words = [
        root / "bin" / "tritonserver", "--model-repository", tmp_path / "models", "--backend-directory", backends,
        "--model-control-mode=explicit", f"--load-model={name}", "--disable-auto-complete-config",
        "--http-port", str(ports[0]), "--grpc-port", str(ports[1]), "--metrics-port", str(ports[2]),
    ]  # fmt: skip
    variables = {
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": str(home),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    with (tmp_path / "log").open("wb") as log:
        triton = subprocess.Popen(
            list(map(str, words)), env={**os.environ, **variables}, stdout=log, stderr=log
        )
    try:
        client = over_http.InferenceServerClient(f"127.0.0.1:{ports[0]}")
        wait_until_ready(client, triton, tmp_path / "log")
        classifier = Classifier("clarity_assessment")
        for file in edge_case_files()[::6]:
            (expected,) = classifier.batch([file.data], errors="return")
            given = over_http.InferInput("image", [1], "BYTES")
            given.set_data_from_numpy(np.array([file.data], object))
            try:
                found = json.loads(client.infer(name, [given]).as_numpy("result")[0])
            except over_http.InferenceServerException as error:
                found = {"error": str(error)}
            wanted = expected.to_json()
            if "error" in wanted:
                assert wanted["error"] in found["error"]
            else:
                assert found["class_ids"] == wanted["class_ids"], file.name
                np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=0, atol=1e-5)
    finally:
        triton.terminate()
        triton.wait(60)


def wait_until_ready(
    client: over_http.InferenceServerClient, process: subprocess.Popen[bytes], log: Path
) -> None:
    ends = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < ends, log.read_text("utf-8")
        try:
            if client.is_server_ready():
                return
        except OSError:
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def size(python: Path) -> int:
    files = (p for p in python.parents[1].rglob("*") if p.is_file() and not p.is_symlink())
    return sum(p.stat().st_size for p in files)


def test_a_fresh_install_is_small_and_soon_ready(tmp_path: Path) -> None:
    source = str(REPO)
    plain = environment("plain", "-c", "constraints.txt", source, fresh=True)
    serving = environment("serving", "-c", "constraints.txt", f"{source}[serve]", fresh=True)
    added = size(serving) - size(plain)
    assert added < 60e6, f"{added / 1e6:.1f} MB"
    done = execute(
        [plain, "-m", "tinysight", "serve", "clarity_assessment"], cwd=tmp_path, PYTHONPATH=None
    )
    assert done.code == 2
    assert "pip install 'tinysight[serve]'" in done.err
    port, started = free_port(), time.monotonic()
    words = [
        serving,
        "-m",
        "tinysight",
        "serve",
        "clarity_assessment",
        "--port",
        str(port),
        "--no-grpc",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, words)), stderr=log, cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{port}/v1/classify"
        photo = next((REPO / "samples").rglob("*.jpg"))
        words = [
            "curl",
            "-sf",
            "--retry",
            "50",
            "--retry-delay",
            "0",
            "--retry-connrefused",
            "--data-binary",
            f"@{photo}",
            url,
        ]
        done = execute([*words, "-H", "Content-Type: image/jpeg"], no_proxy="127.0.0.1")
        assert done.code == 0, (tmp_path / "log").read_text("utf-8")
        assert time.monotonic() - started < 5
        assert json.loads(done.out)["class_ids"] in ([0], [1])
    finally:
        process.terminate()
        assert process.wait(30) == 0
