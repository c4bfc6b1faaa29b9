"""Telling people of incidents: what they were told is kept in Kafka, so that a crash neither loses nor repeats it."""
