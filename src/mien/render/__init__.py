"""Faces with known action units, drawn or rendered from a model."""
