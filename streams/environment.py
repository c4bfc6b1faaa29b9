"""The environment variables by which a supervisor talks to its children."""

from __future__ import annotations

WORKER_VARIABLE = "GUARDIAN_WORKER"
"""
Names this worker to its consumer groups (static membership): a process that is started again under the same name gets
its partitions back at once, without the others noticing. Unique among live workers.
"""

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where every process keeps its numbers; prometheus_client reads it when it is imported."""
