"""Bundles behind REST and gRPC: Open Inference Protocol v2 and a route for each kind of result; safe by default."""
