"""What one tick of ten thousand streams costs on one core: guess, test, account and verdict of each."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from guardian.sequential import Account, ControlRate, StreamBank, two_sample_block, two_sample_blocks

STREAMS, TICKS, SINGLES = 10_000, 40, 300


def run() -> dict[str, Any]:
    """
    Advance 10,000 streams of 8 components by 250 ms, over and over; the median tick in milliseconds.

    ``ours``: a `StreamBank`. ``limit``: 320,000 logarithms, which is what the formula asks for and nothing else.
    ``peers``: the same streams one at a time, each with an `Account` and a `ControlRate`.
    """
    rng = np.random.default_rng(1)
    bank = StreamBank(STREAMS)
    bank.deposit(1e-3)
    spent_s = []
    for _ in range(TICKS):
        n_t, n_c = rng.poisson(50.0, STREAMS) * 1.0, rng.poisson(450.0, STREAMS) * 1.0
        x_t, x_c = rng.binomial(n_t.astype(int), 0.01) * 1.0, rng.binomial(n_c.astype(int), 0.01) * 1.0
        began_s = time.perf_counter()
        bank.deposit(3e-9)
        bank.update(two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=bank.p_hat, margin=1.2))
        killed = bank.crossed()
        bank.remember(n_c, x_c, 0.25)
        spent_s.append(time.perf_counter() - began_s)
        bank.reset(killed)
    ours = 1e3 * statistics.median(spent_s)
    limit = 1e3 * statistics.median(_logarithms() for _ in range(TICKS))
    singles = 1e3 * _singles(n_t, x_t, n_c, x_c)
    return {
        "ours": ours,
        "limit": limit,
        "peers": {"one at a time": singles},
        "best tick": 1e3 * min(spent_s),
        "bytes a stream": len(bank.to_bytes()) / STREAMS,
        "ratio_to_limit": ours / limit,
        "unit": "ms a tick of 10,000 streams",
    }


def _logarithms() -> float:
    given = np.full(32 * STREAMS, 0.01)
    began_s = time.perf_counter()
    np.log1p(given)
    return time.perf_counter() - began_s


def _singles(n_t: Any, x_t: Any, n_c: Any, x_c: Any) -> float:
    """Measure some streams and return the time of all."""
    streams = [(Account(), ControlRate(half_life_s=60.0)) for _ in range(SINGLES)]
    began_s = time.perf_counter()
    for i, (account, control) in enumerate(streams):
        account.deposit(3e-9)
        block = float(n_t[i]), float(x_t[i]), float(n_c[i]), float(x_c[i])
        account.update(two_sample_block(*block, p_hat=control.p_hat, margin=1.2))
        account.crossed()
        control.remember(block[2], block[3], 0.25)
    return (time.perf_counter() - began_s) * STREAMS / SINGLES
