"""Batch prediction of many images, in shards, over many processes or machines."""
