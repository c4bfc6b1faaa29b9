"""The whole loop in one process under a seed: no threads, no real time, no Kafka."""
