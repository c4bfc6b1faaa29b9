"""LaunchDarkly, over its REST API: docs/stores.md."""
