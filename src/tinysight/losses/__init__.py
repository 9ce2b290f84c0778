"""Losses: modules that give one number, in three registries of `tinysight.registry`.

Those of classification (`losses`) take logits (N, K) and targets; those of metric learning
(`embedding_losses`) embeddings (N, D) and labels (N,), a few also logits or domains; those of
distillation (`distillation_losses`) the outputs of student and teacher, a few also labels.
"""
