"""One pure function a file, each citing its equation."""
