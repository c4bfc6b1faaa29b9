"""Flipt v2, over its environments API: docs/stores.md."""
