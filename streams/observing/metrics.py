"""The metrics of observe, counted when the sums of the events are committed: none twice, none that was rolled back."""

from __future__ import annotations

from msgspec.structs import asdict
from prometheus_client import Counter, Gauge, Histogram

from streams.fold import Counts

EVENTS = Counter(
    "guardian_observe_events",
    "Events by what became of them; 'future' ones were clamped, 'too_many_' ones named what is left out: both count "
    "as their kind, too.",
    ["topic", "kind"],
)
LAG = Gauge("guardian_observe_lag", "Records not yet read.", ["topic", "partition"], multiprocess_mode="livemostrecent")
BEHIND = Gauge(
    "guardian_observe_behind_seconds",
    "For how long what is read next has waited to be read.",
    ["topic", "partition"],
    multiprocess_mode="livemostrecent",
)
OPEN_TRANSACTIONS = Gauge(
    "guardian_observe_open_transactions", "Transactions begun and not yet ended.", multiprocess_mode="livesum"
)
OLDEST_TRANSACTION = Gauge(
    "guardian_observe_oldest_transaction_seconds", "Age of the oldest open transaction.", multiprocess_mode="livemax"
)
TRANSACTIONS = Counter("guardian_observe_transactions", "Transactions by how they ended.", ["outcome"])
TRANSACTION_SECONDS = Histogram(
    "guardian_observe_transaction_seconds",
    "From begin to committed.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0),
)


def count_events(topic: str, counts: Counts) -> None:
    """Add committed events to the counters."""
    for kind, number in asdict(counts).items():
        if number:
            EVENTS.labels(topic, kind).inc(number)
