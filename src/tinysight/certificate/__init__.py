"""Proof that a bundle answers as the network that was validated, on every engine, from file bytes to label."""
