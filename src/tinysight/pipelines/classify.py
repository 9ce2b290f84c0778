"""A bundle whose network gives scores of classes or a vector."""

from __future__ import annotations

from tinysight.pipelines.pipeline import BundlePipeline
from tinysight.tasks.results import Result


class Classifier(BundlePipeline[Result]):
    """A bundle of classes, labels, attributes or vectors, ready to predict.

    Holds no state between calls: any number of threads and generators may use one classifier, and
    it may be pickled and used after a fork.

    Args:
        model: a shipped bundle's name, a bundle's folder, or a bundle that is loaded.
        batch_size: images a batch, at least 1. The results do not depend on it.
        threads: threads of one run of the network, at least 1.
        workers: images that are worked on at the same time. Default: what the bundle's latency
            card found fastest if it was made on this kind of machine, else the processors that this
            process may use, divided by `threads`.
        engine: what runs the network: "onnxruntime" or "openvino", or `target/<name>`, one of the
            bundle's variants in its own engine.
        precision: of the network, where the engine has a choice: "f32", "bf16", "f16".
        exact: decode every JPEG whole, whatever the bundle allows.
        topk: number of best classes to give instead of the bundle's post-processing.
        threshold: decision threshold instead of the bundle's own, in [0, 1].

    Raises:
        BundleError: the bundle is missing, altered, truncated or too new.
        ConfigError: an argument is out of range, or the bundle is a detector's.

    >>> classifier = Classifier("clarity_assessment")  # doctest: +SKIP
    >>> classifier("photo.jpg").label_names  # doctest: +SKIP
    ('blurred',)
    >>> for batch in classifier.predict("holiday/"):  # doctest: +SKIP
    ...     for result in batch:
    ...         print(result.filename, result.label_names, result.scores)
    """
