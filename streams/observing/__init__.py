"""The parts of observe: one source at a time, its transactions, and what it writes into the journal."""
