"""Flag stores: each adapter keeps the promises of `guardian.ports.FlagStore`."""
