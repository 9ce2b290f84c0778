"""Mixing the pictures of a batch and their labels."""
