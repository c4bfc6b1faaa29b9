"""Policies: what people write, read whole."""
