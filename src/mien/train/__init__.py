"""The training loop, its checkpoints and its log; it knows steps, not methods."""
