"""The wire format of `flagd.sync.v1`: `sync.proto` is upstream's, the rest is generated from it."""
