"""
Known events through real workers on three brokers, while workers and brokers are killed; a ledger then counts.

``python -m tests.torture --seed 7 --kills 20`` runs it by hand; the seed it prints plays the same faults again.
"""
