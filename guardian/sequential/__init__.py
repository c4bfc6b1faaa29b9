"""
Tests that may be looked at all the time: e-values in log space, and the account that turns them into a kill.

A ``..._block`` function takes the sums of one block and returns K log e-values, one an alternative. `Account`
takes budgets and log e-values and says when to kill. Everything else serves these two.
"""

from __future__ import annotations

from guardian.sequential.account import Account, advance
from guardian.sequential.bank import StreamBank
from guardian.sequential.control_rate import ControlRate
from guardian.sequential.counts import count_block, count_blocks
from guardian.sequential.differences import additive_margin_block, additive_margin_blocks, additive_margin_pair
from guardian.sequential.fading import Fading
from guardian.sequential.grid import DEFAULT_GRID, DROP_GRID, ratio_grid
from guardian.sequential.intervals import rate_interval, ratio_interval
from guardian.sequential.latency import (
    Exceedances,
    Histogram,
    LatencyMemory,
    bucket_edge,
    bucket_key,
    count_above,
    counts_above,
    cuts,
    exceedances,
    histogram_of,
    latency_block,
    latency_blocks,
    margin_shift,
    quantile_key,
    quantile_keys,
)
from guardian.sequential.multiplicity import anytime_p, e_bh, e_lond, log_e_value, pooled_log_s
from guardian.sequential.power import information, samples_bound
from guardian.sequential.proportions import two_sample_block, two_sample_blocks
from guardian.sequential.ratings import (
    DEFAULT_BETS,
    RatingCentre,
    mean_block,
    mean_blocks,
    ratings_block,
    ratings_blocks,
)
from guardian.sequential.reports import Attribution, Onset, attribute
from guardian.sequential.scans import DifferenceScan, RatioScan
from guardian.sequential.shares import DEFAULT_LIFTS, share_block, share_blocks, share_log_bayes_factor
from guardian.sequential.slowness import (
    DEFAULT_SLOWDOWNS,
    DEFAULT_TAUS,
    Slowdown,
    slowness_block,
    slowness_blocks,
)
from guardian.sequential.stream import BlockResult, ErrorRateStream
from guardian.sequential.threshold import mixture_prior, threshold_block, threshold_blocks, threshold_mixture

__all__ = [
    "DEFAULT_BETS",
    "DEFAULT_GRID",
    "DEFAULT_LIFTS",
    "DEFAULT_SLOWDOWNS",
    "DEFAULT_TAUS",
    "DROP_GRID",
    "Account",
    "Attribution",
    "BlockResult",
    "ControlRate",
    "DifferenceScan",
    "ErrorRateStream",
    "Exceedances",
    "Fading",
    "Histogram",
    "LatencyMemory",
    "Onset",
    "RatingCentre",
    "RatioScan",
    "Slowdown",
    "StreamBank",
    "additive_margin_block",
    "additive_margin_blocks",
    "additive_margin_pair",
    "advance",
    "anytime_p",
    "attribute",
    "bucket_edge",
    "bucket_key",
    "count_above",
    "count_block",
    "count_blocks",
    "counts_above",
    "cuts",
    "e_bh",
    "e_lond",
    "exceedances",
    "histogram_of",
    "information",
    "latency_block",
    "latency_blocks",
    "log_e_value",
    "margin_shift",
    "mean_block",
    "mean_blocks",
    "mixture_prior",
    "pooled_log_s",
    "quantile_key",
    "quantile_keys",
    "rate_interval",
    "ratings_block",
    "ratings_blocks",
    "ratio_grid",
    "ratio_interval",
    "samples_bound",
    "share_block",
    "share_blocks",
    "share_log_bayes_factor",
    "slowness_block",
    "slowness_blocks",
    "threshold_block",
    "threshold_blocks",
    "threshold_mixture",
    "two_sample_block",
    "two_sample_blocks",
]
