"""How long an exact search takes, and how much memory: N queries in a gallery of N vectors.

    python benchmarks/retrieval.py [--images 100000] [--features 512] [--each 10]

Vectors are random around the centre of their identity, ``--each`` a piece, and every one is searched among all others.
Prints the seconds of the product of the vectors alone, computed by the same blocks, those of the metric (recall@1, mAP,
mINP), the ratio, and the largest memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from tinysight.metrics.retrieval import retrieval, similarities


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description="Time of an exact search.")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--each", type=int, default=10, help="images of an identity")
    parser.add_argument("--noise", type=float, default=1.5, help="of a vector, against its centre")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = np.arange(arguments.images) // arguments.each
    centres = rng.standard_normal((labels[-1] + 1, arguments.features), np.float32)
    vectors = centres[labels]
    vectors += arguments.noise * rng.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    started = time.perf_counter()
    for _ in similarities(vectors, vectors):
        pass
    product = time.perf_counter() - started
    started = time.perf_counter()
    found = retrieval(vectors, labels, measures=("recall", "mAP", "mINP"))
    whole = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    values = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    print(f"{arguments.images} x {arguments.images} of {arguments.features}: {values}")
    print(
        f"product {product:.1f} s, search {whole:.1f} s, {whole / product:.2f} times; memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
