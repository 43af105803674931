"""Parts with state that methods are composed of: MLP heads, momentum encoder, memory bank."""
