"""A gallery: what is known by its vectors, and edited while it is in use."""
