"""Distillation beyond one recipe: images mined from a pool, students chosen by their latency."""
