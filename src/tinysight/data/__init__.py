"""Labelled images: `lists` reads list files, without torch; `loader` makes training batches."""
