"""The embedded broker, for the demo and the quick tests."""
