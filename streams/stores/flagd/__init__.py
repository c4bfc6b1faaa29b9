"""The flagd-sync store: a `flagd.sync.v1` server for OpenFeature clients, and the adapter that acts on it."""
