"""Predictions of labelled images, and how good they are."""
