"""
A strict stand-in for Flagsmith's REST API, as far as multivariate flags are found, read and changed.

Written from the server itself (Flagsmith/flagsmith, commit 1ad8487ba of August 2026): api/features/future (views, serializers,
services, permissions, exceptions), api/features/views.py and api/features/serializers.py for the list, api/app/pagination.py,
api/api_keys/authentication.py.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from aiohttp import web

from tests.support.stores.vendor import Refused, Vendor

TOKEN = "Ab12cd34.not-a-secret"
PROJECT = 12
ENVIRONMENT = "8KzETdDeMY7xkqkSkY3Gsg"
FEATURE = {"id", "name", "type", "is_archived", "multivariate_options"}
STATE = {"enabled", "value", "variants"}
PAGE = {"search", "page", "page_size"}


def a_flag(number: int = 101, name: str = "checkout-v2", treatment: float = 10.0) -> dict[str, Any]:
    """A flag with one variant beside its own value."""
    option = {
        "id": number * 10, "uuid": f"0000-{number}", "type": "unicode", "string_value": "new", "integer_value": None,
        "boolean_value": None, "default_percentage_allocation": 0, "key": "treatment",
    }  # fmt: skip
    return {
        "id": number, "name": name, "type": "MULTIVARIATE", "is_archived": False, "multivariate_options": [option],
        "served": {
            "environment_default": {
                "enabled": True, "value": {"type": "string", "value": "old"},
                "variants": [{"id": option["id"], "weight": treatment}],
            },
            "segment_overrides": [],
        },
    }  # fmt: skip


class Flagsmith(Vendor):
    """Flags by number. *change_requests* and *may* are settings of people: of the environment, and of the key."""

    def __init__(self, *flags: dict[str, Any]) -> None:
        super().__init__()
        self.flags = {flag["id"]: flag for flag in flags or (a_flag(), a_flag(102, "new-search"))}
        self.change_requests = False
        self.may = {"environment_default", "segment_overrides"}

    def served(self, number: int = 101) -> dict[str, Any]:
        found: dict[str, Any] = self.flags[number]["served"]
        return found

    def edit(self, number: int = 101, treatment: float = 0.0) -> None:
        """A person's change of the percentage of the variant."""
        self.served(number)["environment_default"]["variants"][0]["weight"] = treatment

    def answer(self, request: web.Request, body: Any) -> Any:
        if request.headers.get("authorization") != f"Api-Key {TOKEN}":
            raise Refused(401, {"detail": "Valid Master API Key not found."})
        path = request.path
        if path == f"/api/v1/projects/{PROJECT}/features/" and request.method == "GET":
            return self._list(request)
        found = re.fullmatch(r"/api/__future__/environments/([^/]+)/features/(\d+)/", path)
        if found is None or found[1] != ENVIRONMENT or int(found[2]) not in self.flags:
            raise Refused(404, {"detail": "Not found."})
        if request.method == "PATCH":
            self._patch(self.flags[int(found[2])], body, request.content_type)
        elif request.method != "GET":
            raise Refused(405, {"detail": f'Method "{request.method}" not allowed.'})
        return copy.deepcopy(self.flags[int(found[2])]["served"])

    def _list(self, request: web.Request) -> dict[str, Any]:
        if set(request.query) - PAGE:
            raise Refused(400, {"detail": "unknown parameter"})
        search, page, size = (request.query.get(name, "") for name in ("search", "page", "page_size"))
        found = [flag for flag in self.flags.values() if search.lower() in flag["name"].lower()]
        first = (int(page or 1) - 1) * int(size or 999)
        if first and first >= len(found):
            raise Refused(404, {"detail": "Invalid page."})
        shown = [{name: flag[name] for name in FEATURE} for flag in found[first : first + int(size or 999)]]
        further = f"{request.url}&more" if first + len(shown) < len(found) else None
        return {"count": len(found), "next": further, "previous": None, "results": shown}

    def _patch(self, flag: dict[str, Any], body: Any, content_type: str) -> None:
        if content_type != "application/json":
            raise Refused(415, {"detail": "Unsupported media type"})
        if not self.may:
            raise Refused(404, {"detail": "Not found."})
        if not isinstance(body, dict) or set(body) - {"environment_default", "segment_overrides"}:
            raise Refused(400, ["Expected an object."])
        if set(body) - self.may:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        if self.change_requests:
            said = "Cannot update flags in an environment with change requests enabled."
            raise Refused(409, {"detail": said, "code": "change_requests_enabled"})
        new = copy.deepcopy(flag["served"])
        if "environment_default" in body:
            new["environment_default"] |= _state(flag, body["environment_default"], set())
        for override in body.get("segment_overrides", []):
            asked = _state(flag, override, {"segment", "priority"})
            at = next((one for one in new["segment_overrides"] if one["segment"] == override["segment"]), None)
            if at is None:
                raise Refused(400, {"segment_overrides": [{"segment": {"id": ["Segment not found."]}}]})
            at |= asked
        flag["served"] = new


def _state(flag: dict[str, Any], asked: dict[str, Any], beside: set[str]) -> dict[str, Any]:
    if set(asked) - STATE - beside:
        raise Refused(400, {"detail": f"unknown: {sorted(asked)}"})
    if "value" in asked and (set(asked["value"]) != {"type", "value"} or not isinstance(asked["value"]["value"], str)):
        raise Refused(400, {"value": ["A typed text."]})
    if "variants" in asked:
        known, given = {option["id"] for option in flag["multivariate_options"]}, asked["variants"]
        if flag["type"] != "MULTIVARIATE":
            raise Refused(400, {"variants": ["Feature is not multivariate."]})
        if {one["id"] for one in given} - known:
            raise Refused(400, {"variants": ["Variant not found."]})
        if known - {one["id"] for one in given}:
            raise Refused(400, {"variants": ["Must include all feature's variants."]})
        if not all(0 <= one["weight"] <= 100 for one in given) or sum(one["weight"] for one in given) > 100:
            raise Refused(400, {"variants": ["Total weight must not exceed 100."]})
    return asked
