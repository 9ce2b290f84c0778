"""Predictions of labelled images, and their metrics."""
