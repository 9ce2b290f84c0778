"""Triton's own clients, unmodified, and the contract that they are built on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

import tinysight.serving
from support.serving import Server
from tinysight.serving.grpc_api import MESSAGES

HERE = Path(tinysight.serving.__file__).parent


@pytest.fixture(scope="module", params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest, server: Server) -> tuple[Any, Any]:
    """A client's module and a client."""
    if request.param == "http":
        return over_http, over_http.InferenceServerClient(server.url)
    return over_grpc, over_grpc.InferenceServerClient(server.grpc_url)


def as_dict(found: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return found if isinstance(found, dict | list) else MessageToDict(found, True, True)


def bright(module: Any, rows: int, dtype: str = "FP32") -> Any:
    """Rows of which the first is dark and the others are bright; the scores can be worked out by hand."""
    array = np.ones((rows, 3, 8, 8), np.float32)
    array[0] = 0.25
    given = module.InferInput("images", list(array.shape), dtype)
    given.set_data_from_numpy(array)
    return given


def softmax_of_mean(mean: float) -> list[float]:
    logits = np.array([6 - 12 * mean, 12 * mean - 6])
    return (np.exp(logits) / np.exp(logits).sum()).tolist()


def test_health_and_metadata(protocol: tuple[Any, Any]) -> None:
    _, client = protocol
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("brightness")
    assert client.is_model_ready("brightness", "1")
    assert not client.is_model_ready("brightness", "2")
    assert not client.is_model_ready("nothing")
    assert "binary_tensor_data" in as_dict(client.get_server_metadata())["extensions"]
    about = as_dict(client.get_model_metadata("boxes"))
    assert [row["name"] for row in about["inputs"]] == ["images", "scale_factor"]
    assert [row["datatype"] for row in about["outputs"]] == ["FP32", "INT32"]
    assert [int(side) for side in about["inputs"][0]["shape"]] == [-1, 3, 8, 8]
    config = as_dict(client.get_model_config("brightness"))
    config = config.get("config", config)
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    index = as_dict(client.get_model_repository_index())
    names = [row["name"] for row in (index["models"] if isinstance(index, dict) else index)]
    assert names == ["boxes", "brightness", "clarity_assessment", "light", "light", "vector"]


def test_inference_by_hand(protocol: tuple[Any, Any]) -> None:
    module, client = protocol
    found = client.infer("brightness", [bright(module, 3)], request_id="my-id")
    expected = [softmax_of_mean(0.25), softmax_of_mean(1), softmax_of_mean(1)]
    np.testing.assert_allclose(found.as_numpy("scores"), expected, rtol=0, atol=1e-6)
    response = found.get_response()
    assert (response["id"] if isinstance(response, dict) else response.id) == "my-id"


def test_classification_extension(protocol: tuple[Any, Any]) -> None:
    module, client = protocol
    wanted = module.InferRequestedOutput("scores", class_count=1)
    found = client.infer("brightness", [bright(module, 2)], outputs=[wanted]).as_numpy("scores")
    texts = [text.decode() for text in found.reshape(-1)]
    assert [text.split(":")[1:] for text in texts] == [["0", "dark"], ["1", "bright"]]
    assert float(texts[0].split(":")[0]) == pytest.approx(softmax_of_mean(0.25)[0], abs=1e-5)


def test_statistics_grow(protocol: tuple[Any, Any]) -> None:
    module, client = protocol

    def count() -> int:
        (row,) = as_dict(client.get_inference_statistics("brightness"))["model_stats"]
        return int(row["inference_stats"]["success"]["count"])

    before = count()
    client.infer("brightness", [bright(module, 2)])
    assert count() == before + 1


def test_a_detector_of_two_inputs(protocol: tuple[Any, Any]) -> None:
    module, client = protocol
    factors = module.InferInput("scale_factor", [2, 2], "FP32")
    factors.set_data_from_numpy(np.array([[1, 1], [0.5, 0.25]], np.float32))
    found = client.infer("boxes", [bright(module, 2), factors])
    expected = [[1, 0.25, 2, 1, 6, 5], [1, 1, 8, 2, 24, 10]]
    np.testing.assert_allclose(found.as_numpy("boxes"), expected, rtol=0, atol=1e-5)
    assert found.as_numpy("counts").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.set_shape([1, 3, 8, 8]), ""),
        (lambda i: i.set_shape([2, 3, 8]), ""),
        (lambda i: setattr(i, "_no", 1), "takes"),
    ],
)
def test_refusals_are_sentences(protocol: tuple[Any, Any], change: Any, words: str) -> None:
    module, client = protocol
    given = bright(module, 2)
    if words:
        given = module.InferInput("others", [1], "FP32")
        given.set_data_from_numpy(np.ones(1, np.float32))
    else:
        change(given)
    with pytest.raises(Exception, match=words or "shape") as caught:
        client.infer("brightness", [given])
    assert "Traceback" not in str(caught.value)


def test_compressed_http(server: Server) -> None:
    client = over_http.InferenceServerClient(server.url)
    for algorithm in ("gzip", "deflate"):
        found = client.infer(
            "brightness", [bright(over_http, 2)], request_compression_algorithm=algorithm
        )
        assert found.as_numpy("scores").shape == (2, 2)


def test_several_at_once_and_streams(server: Server) -> None:
    client = over_grpc.InferenceServerClient(server.grpc_url)
    found: list[Any] = []
    client.start_stream(lambda result, error: found.append((result, error)))
    for rows in (1, 2, 3):
        client.async_stream_infer("brightness", [bright(over_grpc, rows)])
    client.async_stream_infer("nothing", [bright(over_grpc, 1)])
    client.stop_stream()
    assert [result.as_numpy("scores").shape for result, error in found[:3]] == [
        (1, 2),
        (2, 2),
        (3, 2),
    ]
    assert "nothing" in str(found[3][1])


def test_asynchronous_client(server: Server) -> None:
    import asyncio

    async def ask() -> list[tuple[int, ...]]:
        async with over_grpc_aio.InferenceServerClient(server.grpc_url) as client:
            calls = [client.infer("brightness", [bright(over_grpc, n)]) for n in (1, 4, 2)]
            return [f.as_numpy("scores").shape for f in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == [(1, 2), (4, 2), (2, 2)]


def fields(descriptor: Any) -> dict[str, tuple[int, int, bool]]:
    return {f.name: (f.number, f.type, f.is_repeated) for f in descriptor.fields}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_those_of_the_clients(name: str) -> None:
    """Every field that we know has the number, the type and the cardinality that clients know."""

    def compare(ours: Any, theirs: Any) -> None:
        known = fields(theirs)
        assert {key: known[key] for key in fields(ours)} == fields(ours)
        for nested in ours.nested_types:
            compare(nested, theirs.nested_types_by_name[nested.name])

    homes = (service_pb2, model_config_pb2)
    theirs = next(getattr(home, name) for home in homes if hasattr(home, name))
    compare(MESSAGES[name].DESCRIPTOR, theirs.DESCRIPTOR)


@pytest.mark.skipif(
    not importlib.util.find_spec("grpc_tools"), reason="grpcio-tools is not installed"
)
def test_the_descriptors_are_those_of_the_text(tmp_path: Path) -> None:
    from grpc_tools import protoc

    out = tmp_path / "out"
    code = protoc.main(["", "-I", str(HERE), f"--descriptor_set_out={out}", "inference.proto"])
    assert code == 0
    made, kept = (
        descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in (out, HERE / "inference.binpb")
    )
    assert made == kept
