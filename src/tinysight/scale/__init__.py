"""A hundred thousand pictures and more, in shards, over many processes or machines."""
