"""Videos of faces with known action units, rendered from a morphable face model."""
