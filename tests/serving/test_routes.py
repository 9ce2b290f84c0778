"""The routes for images, the contract of all routes, and the routes of other servers' clients."""

from __future__ import annotations

import base64
import json
import struct
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.serving import Answer, Server
from tinysight import open_bundle
from tinysight.files import parse_yaml

BRIGHT = cv2.imencode(".png", np.full((8, 8, 3), 255, np.uint8))[1].tobytes()
DARK = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def form(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="%b"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
        % (name.encode(), data)
        for name, data in files
    ]
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def test_one_image_is_its_result(server: Server) -> None:
    found = server.post("/v1/classify?model=brightness", BRIGHT, content_type="image/png")
    assert found.status == 200
    assert found.json()["label_names"] == ["bright"]
    assert server.post("/v1/classify?model=brightness:1", {"image": b64(DARK)}).json()[
        "class_ids"
    ] == [0]


def test_several_images_are_a_list(server: Server) -> None:
    body, kind = form(("a.png", BRIGHT), ("b.txt", b"no image"), ("c.png", DARK))
    rows = server.post("/v1/classify?model=brightness", body, content_type=kind).json()["results"]
    assert [row["filename"] for row in rows] == ["a.png", "b.txt", "c.png"]
    assert [row.get("class_ids") for row in rows] == [[1], None, [0]]
    assert rows[1]["error"] == "not a JPEG, PNG, BMP or WebP image"
    rows = server.post("/v1/classify?model=brightness", {"images": [b64(DARK)]}).json()["results"]
    assert [row["class_ids"] for row in rows] == [[0]]


def test_options_of_one_request(server: Server) -> None:
    path = "/v1/classify?model=brightness"
    assert len(server.post(path + "&topk=2", BRIGHT).json()["class_ids"]) == 2
    assert server.post(path + "&threshold=1", DARK).json()["class_ids"] == [0]
    for wrong in ("topk=0", "topk=x", "threshold=2", "threshold=nan", "topk=1&threshold=0.5"):
        found = server.post(f"{path}&{wrong}", BRIGHT)
        assert found.status == 400, wrong
        assert found.json()["error"]


def test_versions(server: Server) -> None:
    names = {"light": "day", "light:1": "bright", "light:10": "day"}
    for name, label in names.items():
        found = server.post(f"/v1/classify?model={name}", BRIGHT).json()
        assert found["label_names"] == [label]
    assert server.get("/v2/models/light").json()["versions"] == ["1", "10"]
    assert server.get("/v2/models/light/versions/2").status == 404
    assert server.post("/v1/classify", BRIGHT).status == 400  # several fit


@pytest.mark.parametrize(("route", "name"), [("detect", "boxes"), ("embed", "vector")])
def test_other_kinds_of_results(server: Server, route: str, name: str, tmp_path: Path) -> None:
    from support.bundles import tiny_bundle, tiny_detector

    made = (
        tiny_detector(tmp_path / "b")
        if route == "detect"
        else tiny_bundle(tmp_path / "b", postprocess={"name": "embedding"}, threshold=None)
    )
    expected = open_bundle(made)(BRIGHT).named("image").to_json()
    assert server.post(f"/v1/{route}", BRIGHT).json() == expected
    found = server.post(f"/v1/classify?model={name}", BRIGHT)
    assert found.status == 404
    assert f"/v1/{route}" in found.json()["error"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (415, BRIGHT, "text/plain"),
        (400, b"{", "application/json"),
        (400, b'{"image": 5}', "application/json"),
        (400, b'{"image": "%%%"}', "application/json"),
        (400, b'{"other": ""}', "application/json"),
        (400, b'{"url": "http://127.0.0.1/a.jpg"}', "application/json"),
        (400, b'{"images": []}', "application/json"),
        (400, b"[" * 100_000, "application/json"),
        (400, b"", "multipart/form-data"),
        (400, b"--b\r\n", "multipart/form-data; boundary=b"),
        (400, b"--b\r\nno blank line\r\n--b--", "multipart/form-data; boundary=b"),
        (
            400,
            form(("a.png", BRIGHT))[0].replace(b'"image"', b'"other"'),
            "multipart/form-data; boundary=b",
        ),
        (400, b"--b\r\n\r\n\r\n" * 100 + b"--b--", "multipart/form-data; boundary=b"),
        (422, b"", "image/png"),
        (422, b"GIF89a", "image/png"),
    ],
)
def test_refusals_of_a_task_route(server: Server, status: int, body: bytes, kind: str) -> None:
    found = server.post("/v1/classify?model=brightness", body, content_type=kind)
    assert found.status == status, found.body
    assert found.json()["error"]


def infer(
    server: Server,
    request: Any,
    tail: bytes = b"",
    length: str | None = None,
    name: str = "brightness",
) -> Answer:
    head = request if isinstance(request, bytes) else json.dumps(request).encode()
    headers = (
        {"Inference-Header-Content-Length": length or str(len(head))} if tail or length else {}
    )
    return server.request("POST", f"/v2/models/{name}/infer", head + tail, headers)


ONES = {"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8]}
SIZE = {"binary_data_size": 768}


def test_nested_and_flat_json(server: Server) -> None:
    array = np.ones((1, 3, 8, 8))
    nested, flat = ({**ONES, "data": data} for data in (array.tolist(), array.reshape(-1).tolist()))
    answers = [
        infer(server, {"inputs": [given]}).json()["outputs"][0]["data"] for given in (nested, flat)
    ]
    assert answers[0] == answers[1]
    assert answers[0][1] > 0.99


def test_raw_bytes_are_the_one_input(server: Server) -> None:
    found = infer(server, np.ones((2, 3, 8, 8), np.float32).tobytes(), length="0")
    head = int(found.headers["inference-header-content-length"])
    about = json.loads(found.body[:head])["outputs"][0]
    assert about["shape"] == [2, 2]
    assert np.frombuffer(found.body[head:], "<f4").reshape(2, 2)[0, 1] > 0.99
    found = infer(server, BRIGHT, length="0", name="brightness.image")
    head = int(found.headers["inference-header-content-length"])
    (size,) = struct.unpack("<I", found.body[head : head + 4])
    assert json.loads(found.body[head + 4 : head + 4 + size])["label_names"] == ["bright"]


def test_outputs_as_asked(server: Server) -> None:
    request = {
        "inputs": [{**ONES, "data": [1] * 192}],
        "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
    }
    found = infer(server, request)
    assert found.headers["content-type"] == "application/octet-stream"
    request["outputs"] = [{"name": "nothing"}]
    assert "nothing" in infer(server, request).json()["error"]


@pytest.mark.parametrize(
    ("request_", "tail", "length"),
    [
        (b"", b"", None), (b"[]", b"", None), (b"{}", b"", None), (b'{"inputs": {}}', b"", None), (b"\xff", b"", None),
        (b"[" * 100_000, b"", None), (b'{"inputs": [], "inputs": []}', b"", None),
        ({"inputs": [ONES]}, b"", None), ({"inputs": [{**ONES, "data": 1}]}, b"", None),
        ({"inputs": [{**ONES, "data": [1] * 191}]}, b"", None),
        ({"inputs": [{**ONES, "data": ["1"] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "data": [True] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "data": [[1], [1, 2]]}]}, b"", None),
        ({"inputs": [{**ONES, "data": [10**400] * 192}]}, b"", None), ({"inputs": [{**ONES, "data": None}]}, b"", None),
        ({"inputs": [{**ONES, "shape": [-1, 3, 8, 8], "data": []}]}, b"", None),
        ({"inputs": [{**ONES, "shape": [2**40, 2**40], "data": []}]}, b"", None),
        ({"inputs": [{**ONES, "shape": [1] * 99, "data": [1]}]}, b"", None),
        ({"inputs": [{**ONES, "shape": [0, 3, 8, 8], "data": []}]}, b"", None),
        ({"inputs": [{**ONES, "datatype": "COMPLEX", "data": [1]}]}, b"", None),
        ({"inputs": [{**ONES, "datatype": "UINT8", "data": [1] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "datatype": "UINT8", "data": [256] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "datatype": "BYTES", "data": ["x"] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "data": [1] * 192}] * 2}, b"", None),
        ({"inputs": [{**ONES, "name": "../../etc/passwd", "data": [1] * 192}]}, b"", None),
        ({"inputs": [{**ONES, "parameters": {"binary_data_size": -1}}]}, b"x", None),
        ({"inputs": [{**ONES, "parameters": {"binary_data_size": 10**30}}]}, b"x", None),
        ({"inputs": [{**ONES, "parameters": {"binary_data_size": "8"}}]}, b"x", None),
        ({"inputs": [{**ONES, "parameters": SIZE}]}, b"x" * 767, None),
        ({"inputs": [{**ONES, "parameters": SIZE}]}, b"x" * 769, None),
        ({"inputs": [{**ONES, "parameters": SIZE, "data": [1]}]}, b"x" * 768, None),
        ({"inputs": [{**ONES, "shape": [1, 3, 8, 9], "parameters": SIZE}]}, b"x" * 768, None),
        ({"inputs": []}, b"", "-1"), ({"inputs": []}, b"", "1e3"), ({"inputs": []}, b"", "9" * 13),
        ({"inputs": []}, b"", "99999"), (b"x" * 767, b"", "0"),
    ],
)  # fmt: skip
def test_malformed_inference_requests(
    server: Server, request_: Any, tail: bytes, length: str | None
) -> None:
    found = infer(server, request_, tail, length)
    assert found.status == 400, found.body
    error = found.json()["error"]
    assert 10 < len(error) < 400
    assert "Traceback" not in error


def test_elements_that_lie_about_their_length(server: Server) -> None:
    about = {"name": "image", "datatype": "BYTES", "shape": [1]}
    for tail in (b"\xff\xff\xff\xff", b"\x05\0\0\0abc", b"\x01\0", b"\x01\0\0\0aextra"):
        given = {**about, "parameters": {"binary_data_size": len(tail)}}
        found = infer(server, {"inputs": [given]}, tail, name="brightness.image")
        assert found.status == 400
        assert "element" in found.json()["error"]


def test_headers_and_errors_are_safe(server: Server) -> None:
    found = server.request(
        "GET", "/v2", headers={"X-Request-ID": "mine-1", "Origin": "http://evil"}
    )
    assert found.headers["x-request-id"] == "mine-1"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert not [key for key in found.headers if key.startswith("access-control")]
    assert "server" not in found.headers
    strange = server.request("GET", "/v2", headers={"X-Request-ID": "a b\t"}).headers[
        "x-request-id"
    ]
    assert len(strange) == 32
    for path in (
        "/nothing",
        "/v2/models/..%2f..%2fetc",
        "/v2/models/%00",
        "/v1/../v2",
        "//v2",
        "/v2/",
    ):
        found = server.get(path)
        assert found.status == 404, path
        assert found.json()["error"]
    assert server.get("/v1/classify").status == 405
    assert server.request("TRACE", "/v2").status == 405


def test_another_site_cannot_point_its_name_here(server: Server) -> None:
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
    ):
        for path in ("/v2", "/metrics", "/v2/health/live"):
            found = server.request("GET", path, headers={"Host": host})
            assert found.status == 403, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8000"):
        assert server.request("GET", "/v2", headers={"Host": host}).status == 200, host


def test_metrics_count_what_happened(server: Server) -> None:
    def values() -> dict[str, float]:
        lines = server.get("/metrics").body.decode().splitlines()
        return {n: float(v) for n, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = values()
    server.post("/v1/classify?model=brightness", BRIGHT)
    server.post("/v1/classify?model=brightness", b"no image")
    after = values()
    labels = 'model="brightness",version="1"'
    name = f'tinysight_requests_total{{{labels},outcome="success"}}'
    assert after[name] - before[name] == 2
    assert after[f"nv_inference_request_success{{{labels}}}"] == after[name]
    assert after[f"tinysight_request_seconds_count{{{labels}}}"] == after[name]
    assert after['tinysight_responses_total{status="422"}'] > before.get(
        'tinysight_responses_total{status="422"}', 0
    )
    assert after["process_resident_memory_bytes"] > 1e7


def test_the_log_has_the_request(server: Server) -> None:
    server.request("GET", "/v2", headers={"X-Request-ID": "look-for-me"})
    ends = time.monotonic() + 5
    while not (rows := [e for e in server.events("request") if e["id"] == "look-for-me"]):
        assert time.monotonic() < ends
    assert rows[0]["status"] == 200
    assert rows[0]["client"] == "127.0.0.1"


def test_openapi_names_every_route_and_its_examples_work(server: Server) -> None:
    pages = server.get("/openapi.json").json()
    assert pages["components"]["schemas"]["ModelName"]["enum"][:2] == ["boxes", "boxes.image"]
    for path, methods in pages["paths"].items():
        for method, about in methods.items():
            here = path.replace("{name}", "brightness.image").replace("{version}", "1")
            for kind, content in about.get("requestBody", {}).get("content", {}).items():
                if "example" in content:
                    body = json.dumps(content["example"]).encode()
                    found = server.request("POST", here, body, {"content-type": kind})
                    assert str(found.status) in about["responses"], (path, found.body)
            if "requestBody" not in about:
                found = server.request(method.upper(), here)
                assert str(found.status) in about["responses"], (path, found.body)


# --- the clients of PaddleX, Paddle Serving and PaddleHub serving: what they send, what they read


def test_paddlex(server: Server) -> None:
    assert server.get("/health").json()["errorCode"] == 0
    found = server.post(
        "/image-classification?model=brightness", {"image": b64(BRIGHT), "topk": 2}
    ).json()
    assert found["errorCode"] == 0
    assert found["errorMsg"] == "Success"
    assert len(found["logId"]) == 32
    assert [row["name"] for row in found["result"]["categories"]] == ["bright", "dark"]
    (box,) = server.post("/object-detection", {"image": b64(BRIGHT)}).json()["result"][
        "detectedObjects"
    ]
    assert box["bbox"] == [2, 1, 6, 5]
    assert box["categoryName"] == "bright"
    assert (
        len(server.post("/image-feature", {"image": b64(BRIGHT)}).json()["result"]["feature"]) == 2
    )
    found = server.post("/image-classification?model=brightness", {"image": b64(b"x")})
    assert (found.status, found.json()["errorCode"]) == (422, 422)
    assert server.post("/image-classification", {}).json()["errorCode"] == 400


def test_paddleserving(server: Server) -> None:
    found = server.post("/brightness/prediction", {"key": ["image"], "value": [b64(BRIGHT)]}).json()
    assert (found["err_no"], found["key"]) == (0, ["label", "prob"])
    label, prob = (
        parse_yaml(text, "value") for text in found["value"]
    )  # Python's lists, as their client reads them
    assert label == ["bright"]
    assert 0.99 < prob[0] <= 1
    assert (
        server.post("/brightness/prediction", {"key": ["image"], "value": []}).json()["err_no"]
        == 422
    )
    assert (
        server.post("/brightness/prediction", {"key": ["image"], "value": [b64(b"")]}).json()[
            "err_no"
        ]
        == 422
    )


def test_hubserving(server: Server) -> None:
    batch = np.stack([np.zeros((3, 8, 8), np.float32), np.ones((3, 8, 8), np.float32)])
    asked = {
        "images": b64(batch.tobytes()),
        "revert_params": {"shape": [2, 3, 8, 8], "dtype": "float32"},
    }
    found = server.post("/predict/brightness", asked).json()
    assert found["status"] == "000"
    assert [row["label_names"] for row in found["results"]["prediction"]] == [["dark"], ["bright"]]
    empty = {**asked, "images": b64(np.full_like(batch, np.nan).tobytes())}
    assert "not finite" in server.post("/predict/brightness", empty).json()["msg"]
    asked["revert_params"] = {"shape": [2**40, 3, 8, 8], "dtype": "float32"}
    assert server.post("/predict/brightness", asked).json()["status"] == "101"
