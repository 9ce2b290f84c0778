"""Through its life a server loses no accepted request and answers none wrongly, and its workers come back."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import tritonclient.grpc as over_grpc

from support.bundles import tiny_bundle
from support.serving import Server
from tinysight.bundle import MANIFEST

BRIGHT = cv2.imencode(".png", np.full((64, 64, 3), 255, np.uint8))[1].tobytes()
Ask = Callable[[], str]


def over_http(server: Server, closing: ExitStack) -> Ask:
    """Asks over one connection as long as it lasts."""
    connection = server.connect()
    closing.callback(connection.close)
    headers = {"content-type": "image/png"}

    def ask() -> str:
        try:
            found = server.request("POST", "/v1/classify", BRIGHT, headers, connection)
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens another
            raise
        if found.status != 200:
            return f"http {found.status}"
        (label,) = found.json()["label_names"]
        return f"200 {label}"

    return ask


def over_grpc_(server: Server, closing: ExitStack) -> Ask:
    client = over_grpc.InferenceServerClient(server.grpc_url)
    closing.callback(client.close)
    given = over_grpc.InferInput("images", [1, 3, 8, 8], "FP32")
    given.set_data_from_numpy(np.ones((1, 3, 8, 8), np.float32))

    def ask() -> str:
        try:
            scores = client.infer("brightness", [given]).as_numpy("scores")
        except over_grpc.InferenceServerException as error:
            raise ConnectionError(str(error)) from None
        assert scores[0, 1] > 0.99
        return "OK"

    return ask


@contextmanager
def load(
    server: Server, *ways: Callable[[Server, ExitStack], Ask], forever: bool = False
) -> Iterator[Counter[str]]:
    """Each asks in a thread of its own, until the block ends or, unless `forever`, a connection fails."""
    found: Counter[str] = Counter()
    closing = ExitStack()
    ending = threading.Event()

    def work(ask: Ask) -> None:
        while not ending.is_set():
            try:
                found[ask()] += 1
            except (OSError, http.client.HTTPException):
                found["broken"] += 1
                if not forever:
                    return
                time.sleep(0.02)

    asks = [way(server, closing) for way in ways]
    threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ending.set()
        for thread in threads:
            thread.join()
        closing.close()


@pytest.mark.parametrize("times", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_sigterm_under_load_loses_nothing(tmp_path: Path, times: int) -> None:
    tiny_bundle(tmp_path / "brightness")
    for number in range(times):
        with (
            Server(tmp_path, f"brightness={tmp_path / 'brightness'}") as server,
            load(server, over_http, over_http, over_grpc_) as found,
        ):
            time.sleep(0.2 + 0.01 * (number % 20))
            last = server.terminate()
        assert last["accepted"] == last["answered"]
        assert found["200 bright"] == last["responses"]["200"] > 0
        assert found["OK"] == last["responses"]["grpc OK"] > 0
        assert set(found) <= {"200 bright", "OK", "broken", "http 503"}


@pytest.mark.parametrize("times", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_hot_reload_under_load_drops_nothing(tmp_path: Path, times: int) -> None:
    labels = itertools.cycle([("night", "day"), ("dark", "bright")])
    for name in ("new", "served"):
        tiny_bundle(tmp_path / name)
    with Server(tmp_path, f"brightness={tmp_path / 'served'}", grpc=False) as server:
        with load(server, over_http, over_http, forever=True) as found:
            for number in range(times):
                kind = next(labels)
                made = tiny_bundle(tmp_path / f"next{number}", labels=kind, postprocess={
                    "name": "threshold", "threshold": 0.5, "positive": 1, "default": 0})  # fmt: skip
                (tmp_path / "served").rename(tmp_path / f"old{number}")
                made.folder.rename(tmp_path / "served")
                server.wait_for("loaded", count=2 + number)
                before = found[f"200 {kind[1]}"]
                (label,) = server.post("/v1/classify", BRIGHT).json()["label_names"]
                assert label == kind[1]
                ends = time.monotonic() + 10
                while found[f"200 {kind[1]}"] == before:
                    assert time.monotonic() < ends
            (tmp_path / "served" / MANIFEST).write_text("{}", "utf-8")  # damaged: nothing changes
            assert "bundle.yaml" in server.wait_for("not loaded")["error"]
            assert server.post("/v1/classify", BRIGHT).status == 200
            assert server.get("/v2/health/ready").status == 200
        assert set(found) <= {"200 day", "200 bright"}
        index = server.request("POST", "/v2/repository/index").json()
        assert index[0]["state"] == "READY"


@pytest.mark.parametrize("times", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_workers_come_back(tmp_path: Path, times: int) -> None:
    tiny_bundle(tmp_path / "brightness")
    words = [f"brightness={tmp_path / 'brightness'}", "--workers", "2"]
    with Server(tmp_path, *words) as server:
        server.wait_for("ready", count=2)
        with load(server, over_http, over_http, over_grpc_, forever=True) as found:
            for number in range(times):
                alive = {e["pid"] for e in server.events("ready")}
                alive -= {e["pid"] for e in server.events("worker ended")}
                time.sleep(0.1)
                os.kill(min(alive), signal.SIGKILL)
                server.wait_for("ready", count=3 + number)
            enough = found["200 bright"] + 5
            ends = time.monotonic() + 20
            while found["200 bright"] < enough:
                assert time.monotonic() < ends, found
        assert set(found) <= {"200 bright", "OK", "broken"}
        statuses = {e["status"] for e in server.events("worker ended")}
        assert statuses == {-signal.SIGKILL}
        pids = [e["pid"] for e in server.events("ready")]
        time.sleep(0.5)  # the counts of all workers are left four times a second
        lines = server.get("/metrics").body.decode().splitlines()
        total = next(line for line in lines if 'outcome="success"' in line)
        assert float(total.split()[-1]) > 0.8 * (found["200 bright"] + found["OK"]) - 50
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_load_and_unload(tmp_path: Path) -> None:
    from tinysight.serving.limits import new_token

    admin = new_token(tmp_path / "admin")
    store = tmp_path / "store"
    tiny_bundle(store / "one")
    tiny_bundle(tmp_path / "outside")
    (store / "link").symlink_to(tmp_path / "outside")
    (store / "broken").mkdir()
    (store / "broken" / MANIFEST).write_text("{}", "utf-8")
    words = ["--store", store, "--admin-token-file", tmp_path / "admin"]
    with Server(tmp_path, *words, grpc=True) as server:
        headers = {"authorization": f"Bearer {admin}"}

        def change(name: str, what: str, **other: str) -> int:
            path = f"/v2/repository/models/{name}/{what}"
            return server.request("POST", path, b"{}", other or headers).status

        assert change("one", "load", authorization="Bearer wrong") == 401
        for name in ("..%2foutside", "..", "link", "nothing", "one%00", "a" * 5000):
            assert change(name, "load") == 404, name
        assert change("broken", "load") == 400
        assert server.post("/v1/classify", BRIGHT).status == 404
        assert change("one", "load") == 200
        assert server.post("/v1/classify", BRIGHT).json()["label_names"] == ["bright"]
        client = over_grpc.InferenceServerClient(server.grpc_url)
        with pytest.raises(over_grpc.InferenceServerException, match="Authorization"):
            client.unload_model("one")
        client.unload_model("one", headers=headers)
        assert not client.is_model_ready("one")
        assert change("one", "unload") == 404
        client.load_model("one", headers=headers)
        assert client.is_model_ready("one")
        states = {
            row["name"]: row["state"]
            for row in server.request("POST", "/v2/repository/index").json()
        }
        assert states == {"one": "READY", "broken": "UNAVAILABLE", "link": "UNAVAILABLE"}
        shutil.rmtree(store / "one")  # what is loaded stays
        time.sleep(1.2)
        assert client.is_model_ready("one")


@pytest.mark.parametrize("seconds", [pytest.param(600, marks=pytest.mark.slow)])
def test_mixed_load_leaks_nothing(tmp_path: Path, seconds: int) -> None:
    """Images, tensors, refusals and clients that go; memory is compared after a first quarter."""
    tiny_bundle(tmp_path / "brightness")

    def refused(server: Server, closing: ExitStack) -> Ask:
        def ask() -> str:
            return f"refused {server.post('/v1/classify', b'no image').status}"

        return ask

    def gone(server: Server, closing: ExitStack) -> Ask:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(
            BRIGHT
        )

        def ask() -> str:
            with server.raw() as connection:
                connection.sendall(head + BRIGHT)
            return "gone"

        return ask

    with Server(tmp_path, f"brightness={tmp_path / 'brightness'}") as server:
        with load(server, over_http, over_grpc_, refused, gone) as found:
            time.sleep(seconds / 4)
            before = server.memory(), server.threads()
            time.sleep(seconds * 3 / 4)
            after = server.memory(), server.threads()
        time.sleep(1)
        assert set(found) == {"200 bright", "OK", "refused 422", "gone"}
        assert after[0] < 1.05 * before[0]
        assert after[1] <= before[1]
        idle = server.files()
        server.post("/v1/classify", BRIGHT)
        assert server.files() <= idle + 1


def test_workers_agree_on_what_is_loaded(tmp_path: Path) -> None:
    from tinysight.serving.limits import new_token

    headers = {"authorization": f"Bearer {new_token(tmp_path / 'admin')}"}
    tiny_bundle(tmp_path / "store" / "one")
    words = [
        "--store",
        tmp_path / "store",
        "--admin-token-file",
        tmp_path / "admin",
        "--workers",
        "2",
    ]
    with Server(tmp_path, *words, grpc=False) as server:
        server.wait_for("ready", count=2)
        for what, event, status in (("load", "loaded", 200), ("unload", "unloaded", 404)):
            path = f"/v2/repository/models/one/{what}"
            assert server.request("POST", path, b"{}", headers).status == 200
            server.wait_for(event, count=2)
            found = {server.post("/v1/classify", BRIGHT).status for _ in range(20)}
            assert found == {status}
