"""The contract of a store on Milvus: on Milvus Lite here, and on a real server among the slow tests.

`TINYSIGHT_MILVUS=HOST:PORT` names a server that is there; without it the one of the package `milvus` is started.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery.conformance import StoreConformance
from tinysight.errors import ConfigError, GalleryError
from tinysight.gallery.base import Item, Metric

pymilvus = pytest.importorskip("pymilvus")
from tinysight.gallery.stores.milvus import MilvusStore  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of pymilvus


class Maker:
    """Makes stores at one place."""

    def __init__(self, place: str) -> None:
        self._place, self._made = place, list[tuple[str, MilvusStore]]()

    def __call__(self, metric: Metric, dim: int) -> MilvusStore:
        if metric == "hamming" and self._place.startswith("/"):
            pytest.skip("Milvus Lite has no vectors of bits")
        url = f"milvus://{self._place}/g{uuid.uuid4().hex}"
        store = MilvusStore.create(url, metric=metric, dim=dim)
        self._made.append((url, store))
        return store

    def again(self, store: MilvusStore) -> MilvusStore:
        (url,) = (url for url, one in self._made if one is store)
        return MilvusStore(url)

    def close(self) -> None:
        for _, store in self._made:
            store._client.drop_collection(store._name)
            store.close()


class TestMilvusLite(StoreConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[Maker]:
        pytest.importorskip("milvus_lite")
        maker = Maker(str(tmp_path / "lite.db"))
        yield maker
        maker.close()

    def test_texts_are_never_expressions(self, make: Maker) -> None:
        store = make("cosine", 16)
        texts = ['a" or id != "', "b' or 1 == 1 --", "c\\", "d\n\t{x}", "e\u202e中"]
        store.add([Item(one, one, np.ones(16, np.float32), content=one[:9]) for one in texts])
        assert [item.id for item in store.get(texts)] == texts
        for text in texts:
            assert store.ids_of(text) == [text]
            assert [i.id for i in store.items(after=text)] == sorted(t for t in texts if t > text)
        assert store.remove(texts[:1]) == 1
        assert store.count() == 4

    def test_settings_are_no_items(self, make: Maker) -> None:
        store = make("cosine", 16)
        store.set(model="of mine", decision={"k": 3})
        assert make.again(store).model == "of mine"
        assert store.setting("decision") == {"k": 3}
        assert (store.count(), store.items(), store.search(np.ones((1, 16)), 3)) == (0, [], [[]])

    def test_pages_longer_than_a_message(self, make: Maker) -> None:
        store = make("l2", 16)
        rows = np.random.default_rng(0).standard_normal((1201, 16)).astype(np.float32)
        assert store.add(Item(f"{i:05}", "x", row) for i, row in enumerate(rows)) == 1201
        assert [item.id for item in store.items(limit=5000)] == [f"{i:05}" for i in range(1201)]
        assert len(store.items(after="00500", limit=600)) == 600
        assert store.remove([f"{i:05}" for i in range(1200)]) == 1200
        assert store.count() == 1

    def test_known_bytes_are_found(self, make: Maker) -> None:
        store = make("cosine", 16)
        store.add(
            [Item("a", "x", None, "f" * 64), Item("b", "x", np.ones(16, np.float32), "0" * 64)]
        )
        found = store.of_content("0" * 64)
        assert found is not None and found.id == "b"
        assert store.of_content("f" * 64) is None and store.of_content("") is None


@pytest.mark.slow
class TestMilvusServer(TestMilvusLite):
    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        if given := os.environ.get("TINYSIGHT_MILVUS"):
            yield given
            return
        server = pytest.importorskip("milvus").MilvusServer()
        server.set_base_dir(str(tmp_path_factory.mktemp("milvus")))
        server.start()
        yield f"127.0.0.1:{server.listen_port}"
        server.stop()

    @pytest.fixture
    def make(self, server: str) -> Iterator[Maker]:
        maker = Maker(server)
        yield maker
        maker.close()


@pytest.mark.parametrize("url", [
    "milvus://host:1/", "milvus://host:1/a b", "milvus://host:1/a/b", "milvus:///a", "http://host/a", "milvus://"
])  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        MilvusStore(url)


def test_what_is_not_there(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(GalleryError, match=r"lite\.db/none: there is no such collection"):
        MilvusStore(f"milvus://{tmp_path}/lite.db/none")
    with pytest.raises(GalleryError) as refused:
        MilvusStore("milvus://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(refused.value)
