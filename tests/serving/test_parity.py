"""Every answer over the network is that of `tinysight predict` for the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

from support.serving import Server
from tinysight import Classifier
from tinysight.certificate.compare import REFUSED, EdgeCaseFile, edge_case_files
from tinysight.concurrency import by_key
from tinysight.errors import ImageError

NAME = "clarity_assessment"
Row = dict[str, Any]  # a result as JSON; of what cannot be read the reason under `error`


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(NAME)


@pytest.fixture(scope="module")
def http_client(server: Server) -> Any:
    return over_http.InferenceServerClient(server.url, concurrency=2)


@pytest.fixture(scope="module")
def grpc_client(server: Server) -> Any:
    return over_grpc.InferenceServerClient(server.grpc_url)


def predicted(classifier: Classifier, data: bytes) -> Row:
    (result,) = classifier.batch([data], errors="return")
    return result.to_json()


def by_bytes(server: Server, data: bytes) -> Row:
    answer = server.post("/v1/classify?model=" + NAME, data)
    assert answer.status in (200, 422)
    return answer.json()


def by_json(server: Server, data: bytes) -> Row:
    answer = server.post(
        "/v1/classify?model=" + NAME, {"image": base64.b64encode(data).decode("ascii")}
    )
    assert answer.status in (200, 422)
    return answer.json()


def by_form(server: Server, data: bytes) -> Row:
    body = b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="a b.jpg"\r\n\r\n'
    body += data + b"\r\n--xyz--\r\n"
    answer = server.post(
        "/v1/classify?model=" + NAME, body, content_type='multipart/form-data; boundary="xyz"'
    )
    assert answer.json()["filename"] == "a b.jpg"
    return answer.json()


def by_client(module: Any, client: Any, binary: bool, data: bytes) -> Row:
    """The file itself as an element of BYTES, through Triton's client."""
    given = module.InferInput("image", [1], "BYTES")
    array = np.array([data], object)
    given.set_data_from_numpy(array, **({"binary_data": binary} if module is over_http else {}))
    try:
        (text,) = client.infer(NAME + ".image", [given]).as_numpy("result")
    except Exception as error:
        message = str(error)
        assert "image 0: " in message
        return {"error": message.partition("image 0: ")[2]}
    return json.loads(text)


def by_tensor(module: Any, client: Any, binary: bool, classifier: Classifier, data: bytes) -> Row:
    """What the transforms make of the file, and the bundle's decision on the scores that come back."""
    steps = classifier.steps
    try:
        row = steps.prepare(steps.decode(data))
    except ImageError as error:
        where, what, hint = error.problems[0]
        return {"error": f"{what}; {hint}" if hint else what}
    given = module.InferInput("images", list(row.shape), "FP32")
    given.set_data_from_numpy(row, **({"binary_data": binary} if module is over_http else {}))
    scores = client.infer(NAME, [given]).as_numpy("scores")
    return steps.decide(scores)[0].to_json()


@pytest.fixture(scope="module")
def ways(
    server: Server, http_client: Any, grpc_client: Any, classifier: Classifier
) -> dict[str, Callable[[bytes], Row]]:
    return {
        "bytes": partial(by_bytes, server),
        "base64": partial(by_json, server),
        "form": partial(by_form, server),
        "BYTES over HTTP": partial(by_client, over_http, http_client, True),
        "BYTES over gRPC": partial(by_client, over_grpc, grpc_client, True),
        "tensor, binary": partial(by_tensor, over_http, http_client, True, classifier),
        "tensor, JSON": partial(by_tensor, over_http, http_client, False, classifier),
        "tensor, gRPC": partial(by_tensor, over_grpc, grpc_client, True, classifier),
    }


def check(expected: Row, found: Row, what: str) -> None:
    if "error" in expected:
        limit = (
            "178956970; reduce the image or raise max_pixels"  # of a file; a server has a lower one
        )
        wanted = expected["error"].replace(limit, "50000000; reduce the image")
        assert found.get("error") == wanted, what
        return
    assert "error" not in found, f"{what}: {found}"
    assert found["class_ids"] == expected["class_ids"], what
    assert found["label_names"] == expected["label_names"], what
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-5, err_msg=what)


def small_files(count: int) -> list[EdgeCaseFile]:
    """The first files of each kind, huge ones left out."""
    files = (file for file in edge_case_files() if file.kind != "huge")
    groups = by_key((file.kind, file) for file in files)
    return [file for group in groups.values() for file in group[:count]]


def test_some_certificate_files_of_each_kind(
    ways: dict[str, Callable[[bytes], Row]], classifier: Classifier
) -> None:
    """Each file goes two ways, one after another of a kind others."""
    names = list(ways)
    for number, file in enumerate(small_files(4)):
        expected = predicted(classifier, file.data)
        assert ("error" in expected) is (file.kind == REFUSED)
        for name in (names[number % len(names)], names[(number + 3) % len(names)]):
            check(expected, ways[name](file.data), f"{file.name} by {name}")


@pytest.mark.slow
@pytest.mark.parametrize("way", range(8))
def test_certificate_files_every_way(
    ways: dict[str, Callable[[bytes], Row]], classifier: Classifier, way: int
) -> None:
    name, ask = list(ways.items())[way]
    with ThreadPoolExecutor(2) as threads:
        files = edge_case_files()
        expected = threads.map(lambda f: predicted(classifier, f.data), files)
        for file, one in zip(files, expected, strict=True):
            check(one, ask(file.data), f"{file.name} by {name}")
