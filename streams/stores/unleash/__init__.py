"""Unleash: shares of a flexibleRollout strategy, changed by its Admin API."""
