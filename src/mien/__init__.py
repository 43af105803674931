"""mien: what a face is doing, independently of whose face it is."""

__version__ = "0.1.0"
