"""
A strict stand-in for the Admin API of Split (Harness FME), as far as definitions of flags are read, patched and killed.

Written from docs.split.io ("Get feature flag definition in environment", "Partial update …", "Error codes", "Rate limiting"),
developer.harness.io ("Approval Flows and Change Requests": the 403) and the fields of the vendor's Python client
(splitio/python-api 3.5.9, commit 8465799: resources/split_definition.py, environment.py, http_clients). Assumed: that a list
of a treatment which was never given is added, as the page on partial updates shows it.
"""

from __future__ import annotations

import copy
from typing import Any

from aiohttp import web

from tests.support.stores.patching import Unfit, patched
from tests.support.stores.vendor import Refused, Vendor

TOKEN = "ldmrhhs0c0f0-not-a-secret"
WORKSPACE = "5e21a0b0-ws"
PREFIX = "/internal/api/v2"
MAY_CHANGE = ("treatments", "defaultTreatment", "defaultRule", "rules", "trafficAllocation", "killed", "baselineTreatment")


def a_flag(name: str = "checkout-v2", **fields: Any) -> dict[str, Any]:
    """A flag of two treatments, with treatment for 10 %."""
    return {
        "name": name, "environment": {"id": "env-1", "name": "production"}, "trafficType": {"id": "tt", "name": "user"},
        "killed": False, "treatments": [{"name": name, "configurations": "{}"} for name in ("control", "treatment")],
        "defaultTreatment": "control", "baselineTreatment": "control", "trafficAllocation": 100, "rules": [],
        "defaultRule": [{"treatment": "control", "size": 90}, {"treatment": "treatment", "size": 10}],
        "creationTime": 1_700_000_000_000, "lastUpdateTime": 1_700_000_000_001, "lastTrafficReceivedAt": 1_700_000_000_002,
        **fields,
    }  # fmt: skip


class Split(Vendor):
    """Definitions by name. *needs_approval*, *allows_kills* and *may_only_read* are settings of people."""

    def __init__(self, *flags: dict[str, Any]) -> None:
        super().__init__()
        self.flags = {flag["name"]: flag for flag in flags or (a_flag(), a_flag("new-search"))}
        self.needs_approval = self.may_only_read = False
        self.allows_kills = True

    def flag(self, name: str = "checkout-v2") -> dict[str, Any]:
        return self.flags[name]

    def edit(self, key: str = "checkout-v2", **fields: Any) -> None:
        """A person's change."""
        self.flag(key).update({**copy.deepcopy(fields), "lastUpdateTime": self.flag(key)["lastUpdateTime"] + 1})

    def answer(self, request: web.Request, body: Any) -> Any:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _refused(401, "Invalid Admin API key")
        parts = request.raw_path.removeprefix(f"{PREFIX}/").split("/")
        if parts[:3] != ["splits", "ws", WORKSPACE] or parts[3] not in self.flags or parts[4:6] not in (
            ["environments", "production"],
            ["environments", "env-1"],
        ):
            raise _refused(404, "not found")
        flag, more = self.flags[parts[3]], parts[6:]
        flag["lastTrafficReceivedAt"] += 1
        if (request.method, more) == ("GET", []):
            return flag
        if self.may_only_read:
            raise _refused(403, "Role is insufficient")
        if request.content_type != "application/json":
            raise _refused(415, "JSON it is")
        if (request.method, more) == ("PATCH", []):
            return self._patch(flag, body)
        if request.method == "PUT" and more in (["kill"], ["restore"]):
            if self.needs_approval and not (self.allows_kills and more == ["kill"]):
                raise _refused(403, "Approvals are required. orgId=org-1 envId=env-1")
            self.edit(flag["name"], killed=more == ["kill"])
            return flag
        raise _refused(405, "method")

    def _patch(self, flag: dict[str, Any], body: Any) -> dict[str, Any]:
        if self.needs_approval:
            raise _refused(403, "Approvals are required. orgId=org-1 envId=env-1")
        try:
            if any(one["path"].split("/")[1] not in MAY_CHANGE or one["op"] == "test" for one in body):
                raise _refused(400, "this cannot be changed")
            new = patched(flag, body)
        except (Unfit, TypeError, KeyError) as error:
            raise _refused(400, str(error)) from None
        _check(new)
        self.edit(flag["name"], **new)
        return self.flag(flag["name"])


def _check(flag: dict[str, Any]) -> None:
    names = [treatment["name"] for treatment in flag["treatments"]]
    for buckets in (flag["defaultRule"], *(rule["buckets"] for rule in flag["rules"])):
        sizes = [bucket["size"] for bucket in buckets]
        if any(set(bucket) != {"treatment", "size"} or bucket["treatment"] not in names for bucket in buckets):
            raise _refused(400, "bucket")
        if any(type(size) is not int or not 0 < size <= 100 for size in sizes) or sum(sizes) != 100:
            raise _refused(400, "sizes are whole percents and add up to 100")
    if flag["defaultTreatment"] not in names:
        raise _refused(400, "defaultTreatment")
    for kind in ("keys", "segments"):
        listed = [one for treatment in flag["treatments"] for one in treatment.get(kind, [])]
        if len(listed) != len(set(listed)):
            raise _refused(400, f"{kind}: one is listed twice")


def _refused(status: int, message: str) -> Refused:
    return Refused(status, {"code": status, "message": message, "details": "", "transactionId": "22ugt6f5igp"})
