"""Split, or Harness FME, over its Admin API: docs/stores.md."""
