"""Checks that a bundle gives the results of the validated network on every engine, from file bytes to label."""
