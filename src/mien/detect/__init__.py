"""A fitted action-unit model and what runs it: on crops, in several engines."""
