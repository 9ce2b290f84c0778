"""How long a search of a gallery takes, and how many of the nearest it finds.

    python benchmarks/gallery_search.py exact [--count 20000]
    python benchmarks/gallery_search.py peers [--count 200000]     # beside faiss, hnswlib, zvec, LanceDB, as installed
    python benchmarks/gallery_search.py large [--count 1000000]    # ours alone
    python benchmarks/gallery_search.py growth                     # ours, from 1,000 to 1,000,000

The vectors are hard ones (512 numbers): identities of 64 hidden numbers, N(0, 1); an image is tanh(P(identity + 0.6 N))
+ 0.05 N, divided by its length, P = N / 8; five images an identity; queries are new images of the same identities. An
answer counts if it is among the ten nearest by an exact search.

``peers``: M 16, construction 128, inner product. Each engine is searched ever wider until it finds 0.99 of the ten
nearest of 500 queries. Then they take turns, query by query, on one thread. ``exact`` and ``large`` time a whole search
of the store, labels read from the database included; ``large`` also opens the gallery in a new process, and searches
with two threads. Galleries that were built stay in --folder and are used again.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.gallery.base import Item
from tinysight.gallery.index import ApproximateIndex
from tinysight.gallery.nearest import exact_scores
from tinysight.gallery.sqlite_store import SqliteStore

DIM, K, EACH, BLOCK = 512, 10, 5, 5000
WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
Search = Callable[[np.ndarray], np.ndarray]  # from a query to the numbers of the nearest


class Identities:
    """Draws images of identities."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self._turn = rng.standard_normal((64, DIM), np.float32) / 8
        self._centres = rng.standard_normal((count, 64), np.float32)

    def draw(self, identities: np.ndarray, seed: int) -> np.ndarray:
        """One image of each; another seed, other images."""
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((len(identities), 64), np.float32)
        vectors = np.tanh((self._centres[identities] + 0.6 * noise) @ self._turn)
        vectors += 0.05 * rng.standard_normal(vectors.shape, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def data(count: int, queries: int) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Blocks of the vectors, and queries."""
    identities = Identities(count // EACH)
    chosen = np.random.default_rng(1).integers(0, count // EACH, queries)
    rows = (np.arange(start, min(start + BLOCK, count)) // EACH for start in range(0, count, BLOCK))
    images = (identities.draw(block, 2 + number) for number, block in enumerate(rows))
    return images, identities.draw(chosen, 1)


def nearest(blocks: Iterator[np.ndarray], queries: np.ndarray) -> np.ndarray:
    """Numbers of the nearest of each query, (Q, K), by an exact search."""
    best, places, start = (
        np.zeros((len(queries), 0), np.float32),
        np.zeros((len(queries), 0), int),
        0,
    )
    for block in blocks:
        best = np.hstack([best, queries @ block.T])
        here = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        places, start = np.hstack([places, here]), start + len(block)
        kept = np.argpartition(-best, K, axis=1)[:, :K]
        best, places = np.take_along_axis(best, kept, 1), np.take_along_axis(places, kept, 1)
    return places


def recall(found: list[np.ndarray], truth: np.ndarray) -> float:
    """Share of the nearest that were found."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)]))


def times(search: Callable[[np.ndarray], object], queries: np.ndarray) -> np.ndarray:
    """Milliseconds of each query."""
    taken = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        taken.append(1e3 * (time.perf_counter() - started))
    return np.array(taken)


def say(name: str, taken: np.ndarray, *more: str) -> None:
    """One line of the table."""
    half, most = np.percentile(taken, [50, 99])
    print(f"{name:24s} median {half:7.3f} ms   p99 {most:7.3f} ms   {'   '.join(more)}", flush=True)


def store_of(folder: Path, count: int) -> SqliteStore:
    """The gallery of so many, with its index; built if it is not there yet."""
    path = folder / f"hard-{count}"
    if not path.exists():
        started = time.perf_counter()
        store = SqliteStore.create(path, dim=DIM)
        store.indexing.follow = lambda: None  # type: ignore[method-assign] - once, below
        for number, block in enumerate(data(count, 0)[0]):
            first = number * BLOCK
            store.add(
                Item(f"{first + i:08}", f"of {(first + i) // EACH}", v) for i, v in enumerate(block)
            )
        store.rewrite()
        print(f"{count} items written in {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        store.indexing.refresh()
        print(f"indexed in {time.perf_counter() - started:.0f} s", flush=True)
        store.close()
    return SqliteStore(path)


def measure(store: SqliteStore, count: int, queries: int) -> tuple[np.ndarray, str]:
    """Times of a whole search, and its recall."""
    blocks, asked = data(count, queries)
    truth = nearest(blocks, asked)
    for query in asked[:20]:
        store.search(query[None], K)
    found = [np.array([int(m.id) for m in store.search(q[None], K)[0]]) for q in asked]
    return times(
        lambda query: store.search(query[None], K), asked
    ), f"recall {recall(found, truth):.4f}"


def exact(folder: Path, count: int, queries: int) -> None:
    """A gallery that is searched whole."""
    store = store_of(folder, count)
    store.indexing.exact = count
    say(f"exact, {count}", *measure(store, count, queries))


def large(folder: Path, count: int, queries: int) -> None:
    """One gallery with an index: search, two threads, opening, memory."""
    store = store_of(folder, count)
    taken, found = measure(store, count, queries)
    print(store.indexing.about())
    say(f"ours, {count}", taken, found)
    asked = data(count, queries)[1]
    halves: list[np.ndarray] = []
    stores = [SqliteStore(store.folder) for _ in range(2)]

    def half(number: int) -> None:
        halves.append(times(lambda q: stores[number].search(q[None], K), asked[number::2]))

    threads = [threading.Thread(target=half, args=(number,)) for number in range(2)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(asked) / (time.perf_counter() - started)
    say(f"two threads, {count}", np.concatenate(halves), f"{rate:.0f} queries a second")
    command = [sys.executable, __file__, "open", "--folder", str(folder), "--count", str(count)]
    subprocess.run(command, check=True)


def cold(folder: Path, count: int) -> None:
    """What a new process waits for its first answer, and what it holds."""
    query = np.zeros((1, DIM), np.float32)
    query[0, 0] = 1
    started = time.perf_counter()
    store = SqliteStore(folder / f"hard-{count}")
    store.search(query, K)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    )
    print(
        f"opened and searched in {seconds:.2f} s; memory {peak:.0f} MB, of it {own.split()[1]} kB its own"
    )


class Peer(NamedTuple):
    """An engine: `at(width)` gives its search."""

    name: str
    at: Callable[[int], Search]
    build: float
    size: float


def peers(folder: Path, count: int, queries: int) -> None:
    """Ours and the others, at equal recall, in turns."""
    blocks, asked = data(count, queries)
    matrix = np.concatenate(list(blocks))
    truth = nearest(iter(np.array_split(matrix, max(1, count // BLOCK))), asked)
    searches: dict[str, Search] = {}
    makers = {
        "tinysight": ours,
        "faiss": of_faiss,
        "hnswlib": of_hnswlib,
        "zvec": of_zvec,
        "lancedb": of_lancedb,
    }
    for package, make in makers.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: left out")
            continue
        started = time.process_time()
        at = make(matrix, folder)
        build = time.process_time() - started
        for width in WIDTHS:
            share = recall([at(width)(query) for query in asked], truth)
            if share >= 0.99:
                break
        print(
            f"{package:12s} built in {build:.0f} CPU s, width {width}, recall {share:.4f}",
            flush=True,
        )
        searches[package] = at(width)
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for query in asked:
        for name, search in searches.items():
            started = time.perf_counter()
            search(query)
            taken[name].append(1e3 * (time.perf_counter() - started))
    for name, each in taken.items():
        ratio = np.median(each) / np.median(taken["tinysight"])
        say(name, np.array(each), f"{ratio:.2f} times ours")


def ours(matrix: np.ndarray, folder: Path) -> Callable[[int], Search]:
    """The index and its exact re-ranking, without the database."""
    keys = np.arange(len(matrix))
    index = ApproximateIndex.build(keys, matrix, "cosine")

    def at(width: int) -> Search:
        def search(query: np.ndarray) -> np.ndarray:
            index._graph.expansion_search = width
            (rows,) = index.propose(query[None], K, keys)
            return rows[np.argsort(-exact_scores("cosine", matrix[rows], query), kind="stable")[:K]]

        return search

    return at


def of_faiss(matrix: np.ndarray, folder: Path) -> Callable[[int], Search]:
    """HNSW of float32."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 128
    index.add(matrix)

    def at(width: int) -> Search:
        def search(query: np.ndarray) -> np.ndarray:
            index.hnsw.efSearch = width
            return index.search(query[None], K)[1][0]

        return search

    return at


def of_hnswlib(matrix: np.ndarray, folder: Path) -> Callable[[int], Search]:
    """Its only kind of index."""
    import hnswlib

    index = hnswlib.Index("ip", DIM)
    index.init_index(len(matrix), M=16, ef_construction=128)
    index.add_items(matrix, num_threads=1)

    def at(width: int) -> Search:
        def search(query: np.ndarray) -> np.ndarray:
            index.set_ef(width)
            return index.knn_query(query[None], K, num_threads=1)[0][0]

        return search

    return at


def of_zvec(matrix: np.ndarray, folder: Path) -> Callable[[int], Search]:
    """HNSW of float32, through its database."""
    import shutil

    import zvec

    path = folder / f"zvec-{len(matrix)}"
    shutil.rmtree(path, ignore_errors=True)
    how = zvec.HnswIndexParam(metric_type=zvec.MetricType.IP, m=16, ef_construction=128)
    vector = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, DIM, index_param=how)
    made = zvec.create_and_open(str(path), zvec.CollectionSchema("c", vectors=[vector]))
    for start in range(0, len(matrix), 1000):
        rows = matrix[start : start + 1000].tolist()
        made.insert([zvec.Doc(id=str(start + i), vectors={"v": row}) for i, row in enumerate(rows)])
    made.optimize()

    def at(width: int) -> Search:
        def search(query: np.ndarray) -> np.ndarray:
            asked = zvec.Query(
                field_name="v", vector=query.tolist(), param=zvec.HnswQueryParam(ef=width)
            )
            return np.array([int(doc.id) for doc in made.query(asked, topk=K)])

        return search

    return at


def of_lancedb(matrix: np.ndarray, folder: Path) -> Callable[[int], Search]:
    """IVF_HNSW_SQ with one partition, refined by the vectors."""
    import lancedb
    import pyarrow as pa

    values = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), DIM)
    table = lancedb.connect(str(folder / "lance")).create_table(
        "t", pa.table({"n": np.arange(len(matrix)), "vector": values}), mode="overwrite"
    )
    table.create_index(
        metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, m=16, ef_construction=128
    )

    def at(width: int) -> Search:
        def search(query: np.ndarray) -> np.ndarray:
            asked: Any = (
                table.search(query)
                .distance_type("dot")
                .nprobes(1)
                .ef(max(width, 4 * K))
                .refine_factor(4)
            )
            return asked.select(["n"]).limit(K).to_arrow()["n"].to_numpy()

        return search

    return at


def main() -> None:
    """One of the four."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("exact", "peers", "large", "growth", "open"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path("build") / "galleries")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    count = args.count or {"exact": 20_000, "peers": 200_000}.get(args.what, 1_000_000)
    if args.what == "open":
        cold(args.folder, count)
    elif args.what == "growth":
        for size in (1000, 10_000, 30_000, 100_000, 300_000, 1_000_000):
            if size <= count:
                store = store_of(args.folder, size)
                say(f"{size}", *measure(store, size, args.queries), store.indexing.about())
    else:
        {"exact": exact, "peers": peers, "large": large}[args.what](
            args.folder, count, args.queries
        )


if __name__ == "__main__":
    main()
