"""The track store, the clips cut from it, their views, and the loader that feeds a run."""
