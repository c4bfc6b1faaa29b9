"""How fast recorded events are judged, beside reading and decoding them alone."""

from __future__ import annotations

import io
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.apps.recordings import read
from streams.apps.replay import main
from tests.support.traffic import Traffic

POLICY = "flag: checkout-v2\nenvironment: production\nguardrails: [{when: error_rate > 1.2x control, then: kill}]\n"


def run() -> dict[str, Any]:
    """
    Replay ten minutes of a flag at 400 requests a second, exposures and outcomes.

    ``ours``: events a second of processor time through fold and engine. ``limit``: the same file
    read, put in order and parsed by the standard library's ``json``.
    """
    with tempfile.TemporaryDirectory() as folder:
        events, policy = Path(folder) / "events.jsonl", Path(folder) / "policy.yaml"
        policy.write_text(POLICY)
        count = write(events)
        began_s = time.process_time()
        main([str(events)], [policy], out=io.StringIO(), err=io.StringIO())
        ours = count / (time.process_time() - began_s)
        began_s = time.process_time()
        for event in read([str(events)], []):
            json.loads(event.value)
        limit = count / (time.process_time() - began_s)
    return {"ours": ours, "limit": limit, "peers": {}, "ratio_to_limit": ours / limit, "unit": "events/s"}


def write(path: Path) -> int:
    """Write the events, bare; return how many."""
    made = []
    for number, r in enumerate(Traffic(rps=400, seconds=600, users=20_000, seed=1).requests()):
        common = {"environment": "production", "context_id": f"u{r.unit}", "source": "/shop"}
        shown = {"type": "exposure", "id": f"e{number}", "flag_key": "checkout-v2", "variant": r.variation}
        ended = {
            "type": "outcome", "id": f"o{number}", "flags": {"checkout-v2": r.variation},
            "outcome": "error" if r.failed else "ok", "latency_ms": r.latency_ms,
        }  # fmt: skip
        for at_ms, fields in ((r.start_ms, shown), (r.end_ms, ended)):
            time_text = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
            made.append((at_ms, json.dumps(fields | common | {"time": time_text})))
    made.sort(key=lambda event: event[0])
    path.write_text("\n".join(line for _, line in made))
    return len(made)
