"""Streams moves: everything that touches Kafka, flag stores, people and the clock."""
