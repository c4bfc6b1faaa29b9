"""Clocks of stores, read off the ``Date`` of what they answer anyway."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import SimpleNamespace

import aiohttp

from streams.apps.doctor.checks import SKEW_S
from streams.findings import Finding


class Dates:
    """How far the clock of who answers is from this one, in seconds; the smallest distance of all answers counts."""

    def __init__(self) -> None:
        self.skew_s: float | None = None

    def trace(self) -> aiohttp.TraceConfig:
        """What hears of each answer of a session."""
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._begins)
        config.on_request_end.append(self._ends)
        return config

    async def _begins(self, _: aiohttp.ClientSession, call: SimpleNamespace, __: aiohttp.TraceRequestStartParams) -> None:
        call.began_s = time.time()

    async def _ends(self, _: aiohttp.ClientSession, call: SimpleNamespace, given: aiohttp.TraceRequestEndParams) -> None:
        headers = given.response.headers
        if "date" in headers and "age" not in headers:  # a cache answers with a time that is past
            self.take(headers["date"], began_s=call.began_s, ended_s=time.time())

    def take(self, date: str, *, began_s: float, ended_s: float) -> None:
        """Take it that an answer was dated so, which came somewhere between these two moments (seconds since the epoch)."""
        try:
            told = parsedate_to_datetime(date)
        except ValueError:
            return
        # It says whole seconds, of which as much has passed as not.
        its_s = told.replace(tzinfo=told.tzinfo or UTC).timestamp() + 0.5
        early_s, late_s = its_s - ended_s, its_s - began_s
        skew_s = 0.0 if early_s <= 0.0 <= late_s else min(early_s, late_s, key=abs)
        if self.skew_s is None or abs(skew_s) < abs(self.skew_s):
            self.skew_s = skew_s

    def findings(self, about: str) -> list[Finding]:
        """What is told of it; nothing where no answer had a date."""
        if self.skew_s is None:
            return []
        if abs(self.skew_s) <= SKEW_S:
            return [Finding("ok", about, "its clock agrees with this one")]
        way = "ahead of" if self.skew_s > 0 else "behind"
        cure = "let both ask a time server (chronyc tracking): signatures with a wrong time are refused"
        return [Finding("warning", about, f"its clock is {abs(self.skew_s):.0f} s {way} this one", cure)]
