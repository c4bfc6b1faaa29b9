"""What happened in the demo, put together from what its processes say; and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.narrator import Narrator, ms_of

BAD_FLAG, GOOD_FLAG = "checkout-v2", "new-search"
BUGGY_FILE = "checkout_v2_1.py"
TOUCHES = frozenset({"pause", "step_back", "kill", "kill_flag"})
TEN_MINUTES_S = 600
TOLD_EVERY_S = 5
SHARE = 0.10
"""Users who have a treatment, as flags.json says."""


@dataclass(slots=True)
class Story:
    """The facts, each set when it becomes known; times are epoch milliseconds."""

    narrator: Narrator
    users: int = 0
    shipped_ms: int | None = None
    first_bad_ms: int | None = None
    killed_ms: int | None = None
    kill_text: str = ""
    served_ms: int | None = None
    served_to: str = ""
    flags_changed_ms: list[int] = field(default_factory=list)
    hurt_ms: dict[str, int] = field(default_factory=dict)
    bad_requests: int = 0
    touched: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def hear_load(self, said: Mapping[str, Any]) -> None:
        """Take one line of the load."""
        match said["event"]:
            case "started":
                self.users = said["users"]
            case "tick":
                self._count(said)
            case "failed" if said.get("file") == BUGGY_FILE:
                self._failed(said)
            case "served":
                self.served_ms, self.served_to = said["at_ms"], said["user"]
                self.narrator.tell("shop", f"serves control to {said['user']}, who had had treatment", self.served_ms)

    def hear_shop(self, said: Mapping[str, Any]) -> None:
        """Take one line of a shop."""
        if said["event"] == "flags_changed":
            self.flags_changed_ms.append(said["at_ms"])
            self.narrator.tell("shop", f"{said['shop']} has new flags: {', '.join(said['flags'])}", said["at_ms"])

    def hear_decision(self, decision: Mapping[str, Any]) -> None:
        """Take one decision of the guardian."""
        flag, variant, action = decision["flag_key"], decision["variant"], decision["action"]
        at_ms = ms_of(decision["decided_at"])
        what = f"{flag}/{variant}" if variant else flag
        self.narrator.tell("guardian", f"{action.upper()} {what}: {decision['explanation']}", at_ms)
        if decision["mode"] != "enforce" or action not in TOUCHES:
            return
        if flag == BAD_FLAG and variant == "treatment" and action in ("kill", "kill_flag"):
            if self.killed_ms is None:
                self.killed_ms, self.kill_text = at_ms, decision["explanation"]
        else:
            self.touched.append(f"{action} {what}")

    def hear_receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take one receipt: what the flag store answered, or whether a kill took effect."""
        if receipt["action"] not in TOUCHES:
            return
        store = receipt.get("store") or "flag store"
        detail = f" ({receipt['detail']})" if receipt.get("detail") else ""
        what = f"{store}: {receipt['action']} {receipt['flag_key']}/{receipt['variant']} {receipt['status']}{detail}"
        self.narrator.tell("receipt", what, ms_of(receipt["at"]))

    def _failed(self, said: Mapping[str, Any]) -> None:
        self.bad_requests += 1
        self.hurt_ms.setdefault(said["user"], said["at_ms"])
        if self.first_bad_ms is None:
            self.first_bad_ms = said["at_ms"]
            where = f"{said['error']} in {said['file']}, line {said['line']}"
            self.narrator.tell("shop", f"first bad request: {where}, for {said['user']}", self.first_bad_ms)

    def _count(self, said: Mapping[str, Any]) -> None:
        self.counts = dict(said["counts"])
        if said["second"] % TOLD_EVERY_S == 0:
            arms = ("control", "treatment")
            failed = ", ".join(f"{arm} {self.counts[f'{arm}_failed']} of {self.counts[arm]}" for arm in arms)
            self.narrator.tell("users", f"{self.counts['requests']:,} requests; checkouts failed: {failed}")

    @property
    def new_flags_ms(self) -> int | None:
        """When the first shop process had new flags after the kill."""
        if self.killed_ms is None:
            return None
        return min((at_ms for at_ms in self.flags_changed_ms if at_ms >= self.killed_ms), default=None)

    @property
    def is_told(self) -> bool:
        """Whether the kill came, and reached a user."""
        return self.killed_ms is not None and self.served_ms is not None

    def complaints(self, *, with_bug: bool) -> list[str]:
        """Return what did not happen as it should have; nothing if all went well."""
        found = [f"the guardian did what it should not: {what}" for what in self.touched]
        if not with_bug:
            if self.killed_ms is not None:
                found.append(f"nothing was wrong, and still {BAD_FLAG}/treatment was killed: {self.kill_text}")
            return found
        if self.shipped_ms is None:
            found.append("the bug was not shipped")
        if self.killed_ms is None:
            found.append(f"{BAD_FLAG}/treatment was not killed")
        elif self.shipped_ms is not None and self.killed_ms < self.shipped_ms:
            found.append(f"{BAD_FLAG}/treatment was killed before there was a bug: {self.kill_text}")
        elif self.served_ms is None:
            found.append("no user who had had treatment was served control after the kill")
        return found

    def last_lines(self, *, with_bug: bool) -> list[str]:
        """Return the figures, one a line; the time from bug to cure is the last."""
        lines = [f"requests              {self.counts.get('requests', 0):,}, {self.users:,} users"]
        lines.append(f"{GOOD_FLAG:<21} {self._fate_of(GOOD_FLAG)}")
        if not with_bug:
            killed = self.killed_ms is not None
            return [*lines, f"{BAD_FLAG:<21} {'KILLED' if killed else self._fate_of(BAD_FLAG)}"]
        lines.append(f"first bad request     {self._at(self.first_bad_ms)}")
        lines.append(f"kill decided          {self._at(self.killed_ms, self.first_bad_ms, 'the first bad request')}")
        lines.append(f"flags in the shop     {self._at(self.new_flags_ms, self.killed_ms, 'the kill')}")
        lines.append(f"control served        {self._at(self.served_ms, self.killed_ms, 'the kill')}{self._to_whom()}")
        lines.append(f"users hurt            {len(self.hurt_ms)}, in {self.bad_requests} bad requests")
        lines.append(f"without the guardian  {self._otherwise()}")
        if self.first_bad_ms is not None and self.served_ms is not None:
            lines.append(f"from bug to cure      {(self.served_ms - self.first_bad_ms) / 1000:.2f} s")
        return lines

    def _fate_of(self, flag: str) -> str:
        touches = [what for what in self.touched if f" {flag}" in what]
        return f"TOUCHED: {', '.join(touches)}" if touches else "untouched"

    def _at(self, at_ms: int | None, from_ms: int | None = None, from_what: str = "") -> str:
        if at_ms is None:
            return "never"
        text = f"at {self.narrator.since_s(at_ms):.2f} s"
        return text if from_ms is None else f"{text}, {at_ms - from_ms:+,} ms after {from_what}"

    def _to_whom(self) -> str:
        return f", to {self.served_to}" if self.served_to else ""

    def _otherwise(self) -> str:
        """Extrapolate from the time in which the bug was served; no more users than there are in the treatment."""
        if self.shipped_ms is None or self.first_bad_ms is None or self.killed_ms is None:
            return "unknown"
        served_s = max((self.killed_ms - self.shipped_ms) / 1000, 0.1)
        per_s = sum(at_ms <= self.killed_ms for at_ms in self.hurt_ms.values()) / served_s
        most = max(round(self.users * SHARE), len(self.hurt_ms))
        expected = min(round(per_s * TEN_MINUTES_S), most)
        cap = f"; there are about {most:,} in the treatment" if expected == most else ""
        return f"about {expected:,} users in 10 minutes (extrapolated: {per_s:.1f} users hurt a second{cap})"
