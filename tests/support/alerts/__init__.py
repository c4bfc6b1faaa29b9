"""Strict local servers that take and refuse what the vendors of alerting take and refuse, written after what they publish."""
