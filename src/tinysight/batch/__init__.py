"""A hundred thousand images and more, in shards, over many processes or machines."""
