"""Features out of a frozen encoder and what can be read from them."""
