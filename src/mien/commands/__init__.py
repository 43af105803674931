"""One file a verb: each wires the parts together and holds no algorithm."""
