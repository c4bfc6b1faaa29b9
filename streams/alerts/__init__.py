"""Adapters that tell people: one file a channel."""
