"""
A strict stand-in for LaunchDarkly's REST API v2, as far as flags are read and patched.

Written from the descriptions of its Python client (launchdarkly/api-client-python, 17.x, commit 9d9c0a02: README "Updates",
"Errors" and "Rate limiting"; docs/FeatureFlagsApi.md "get_feature_flag", "patch_feature_flag"; docs/FeatureFlagConfig.md) and
from the paths that the vendor's own Terraform provider patches (launchdarkly/terraform-provider-launchdarkly, 96625c9e).
Not written there, and assumed: that ``test`` takes ``/environments/<key>/version`` as it takes ``/version``, and that a
failed one is a 400.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from aiohttp import web

from tests.support.stores.patching import Unfit, patched
from tests.support.stores.vendor import Refused, Vendor

TOKEN = "api-0f0a7e1c-not-a-secret"
PROJECT = "shop"
SEMANTIC = "application/json; domain-model=launchdarkly.semanticpatch"
TOTAL = 100_000
MAY_CHANGE = {"on", "fallthrough", "rules", "targets", "contextTargets", "offVariation", "prerequisites", "trackEvents"}
INSTRUCTIONS = {
    "updateFallthroughVariationOrRollout": set(),
    "updateRuleVariationOrRollout": {"ruleId"},
    "updateOffVariation": {"variationId"},
    "removeTargets": {"values", "variationId"},
    "addTargets": {"values", "variationId"},
    "removeRule": {"ruleId"},
    "addRule": {"clauses"},
}
SERVES = {"variationId", "rolloutWeights", "rolloutContextKind", "rolloutBucketBy", "beforeRuleId", "contextKind"}


def a_flag(key: str = "checkout-v2", **production: Any) -> dict[str, Any]:
    """A flag of two variations, on in production, with treatment for 10 %."""
    split = [{"variation": 0, "weight": 90_000}, {"variation": 1, "weight": 10_000}]
    config = {
        "on": True, "archived": False, "salt": "c2FsdA==", "version": 1, "lastModified": 1_700_000_000_000, "targets": [],
        "contextTargets": [], "rules": [], "fallthrough": {"rollout": {"variations": split, "contextKind": "user"}},
        "offVariation": 0, "prerequisites": [], "trackEvents": False, "_environmentName": "Production",
    }  # fmt: skip
    return {
        "key": key, "name": key, "kind": "multivariate", "_version": 1, "archived": False, "deprecated": False, "tags": [],
        "variations": [
            {"_id": f"id-of-control-{key}", "value": "old", "name": "control"},
            {"_id": f"id-of-treatment-{key}", "value": "new", "name": "treatment"},
        ],
        "environments": {"production": config | production, "staging": copy.deepcopy(config)},
    }  # fmt: skip


class LaunchDarkly(Vendor):
    """Flags by key. *needs_approval* and *has_schedule* are settings and plans of people; *tests* whether patches may test."""

    def __init__(self, *flags: dict[str, Any]) -> None:
        super().__init__()
        self.flags = {flag["key"]: flag for flag in flags or (a_flag(), a_flag("new-search"))}
        self.needs_approval = self.has_schedule = self.may_only_read = False
        self.tests = True

    def config(self, key: str = "checkout-v2") -> dict[str, Any]:
        found: dict[str, Any] = self.flags[key]["environments"]["production"]
        return found

    def edit(self, key: str = "checkout-v2", **fields: Any) -> None:
        """A person's change in production."""
        self.config(key).update(copy.deepcopy(fields), version=self.config(key)["version"] + 1)

    def answer(self, request: web.Request, body: Any) -> Any:
        flag = self._flag(request)
        if request.method == "GET":
            asked = request.query.getall("env", [])
            if set(request.query) - {"env", "expand"}:
                raise _refused(400, "invalid_request", "unknown query parameter")
            shown = {env: config for env, config in flag["environments"].items() if not asked or env in asked}
            return {**flag, "environments": shown}
        if request.method != "PATCH" or set(request.query) - {"ignoreConflicts", "dryRun"}:
            raise _refused(405, "method_not_allowed", request.method)
        is_semantic = "domain-model=launchdarkly.semanticpatch" in request.headers["content-type"]
        if self.may_only_read:
            raise _refused(403, "forbidden", "Access to the requested resource was denied")
        if self.needs_approval:
            raise _refused(405, "approval_required", "Approval is required to make this request")
        if self.has_schedule and request.query.get("ignoreConflicts") != "true":
            raise _refused(400, "invalid_request", "would cause a pending scheduled change to fail")
        new = _instructed(flag, body) if is_semantic else self._patched(flag, body)
        _check(new)
        if request.query.get("dryRun") != "true":
            self.flags[flag["key"]] = new
        return new

    def _flag(self, request: web.Request) -> dict[str, Any]:
        if request.headers.get("authorization") != TOKEN:
            raise _refused(401, "unauthorized", "Invalid access token")
        if not re.fullmatch(r"\d{8}|beta", request.headers.get("ld-api-version", "")):
            raise _refused(400, "invalid_request", "LD-API-Version")
        parts = request.raw_path.partition("?")[0].split("/")
        if parts[:5] != ["", "api", "v2", "flags", PROJECT] or len(parts) != 6 or parts[5] not in self.flags:
            raise _refused(404, "not_found", "Invalid resource identifier")
        return self.flags[parts[5]]

    def _patched(self, flag: dict[str, Any], body: Any) -> dict[str, Any]:
        if not isinstance(body, dict) or set(body) - {"patch", "comment"} or "patch" not in body:
            raise _refused(400, "invalid_request", "a JSON patch is a list, or has patch and comment")
        for one in body["patch"]:
            place = one["path"].split("/")
            if place[1] != "environments" or place[3] not in MAY_CHANGE | {"version"}:
                raise _refused(400, "invalid_patch", f"{one['path']} cannot be changed here")
            if (place[3] == "version") != (one["op"] == "test") or (one["op"] == "test" and not self.tests):
                raise _refused(400, "invalid_patch", f"{one['op']} {one['path']}")
        try:
            new: dict[str, Any] = patched(flag, body["patch"])
        except Unfit as error:
            raise _refused(400, "invalid_patch", str(error)) from None
        for env in {one["path"].split("/")[2] for one in body["patch"]}:
            if new["environments"][env] != flag["environments"][env]:
                new["environments"][env]["version"] += 1
        return new


def _instructed(flag: dict[str, Any], body: Any) -> dict[str, Any]:
    """The flag after the instructions of a semantic patch: all of them, or none."""
    if not isinstance(body, dict) or set(body) - {"comment", "environmentKey", "instructions"}:
        raise _refused(400, "invalid_request", "a semantic patch has environmentKey, instructions and comment")
    new = copy.deepcopy(flag)
    config = new["environments"][body["environmentKey"]]
    ids = [variation["_id"] for variation in flag["variations"]]
    for one in body["instructions"]:
        needs = INSTRUCTIONS.get(one["kind"])
        if needs is None or needs - set(one) or set(one) - needs - SERVES - {"kind"}:
            raise _refused(400, "invalid_request", f"instruction {one}")
        try:
            _instruct(config, one, ids)
        except (ValueError, StopIteration, KeyError) as error:
            raise _refused(400, "invalid_request", f"{one['kind']}: {error!r}") from None
    if new != flag:
        config["version"] += 1
    return new


def _instruct(config: dict[str, Any], one: dict[str, Any], ids: list[str]) -> None:
    kind = one["kind"]
    if kind == "updateFallthroughVariationOrRollout":
        config["fallthrough"] = _serves(one, ids)
    elif kind == "updateOffVariation":
        config["offVariation"] = ids.index(one["variationId"])
    elif kind in ("addTargets", "removeTargets"):
        _retarget(config, one, ids.index(one["variationId"]))
    elif kind == "addRule":
        where = _rule(config, one["beforeRuleId"]) if "beforeRuleId" in one else len(config["rules"])
        config["rules"].insert(where, {"_id": f"rule-{len(config['rules'])}", "clauses": one["clauses"], **_serves(one, ids)})
    elif kind == "removeRule":
        config["rules"].pop(_rule(config, one["ruleId"]))
    else:
        place = _rule(config, one["ruleId"])
        kept = {name: value for name, value in config["rules"][place].items() if name not in ("variation", "rollout")}
        config["rules"][place] = kept | _serves(one, ids)


def _rule(config: dict[str, Any], id_: str) -> int:
    return next(place for place, rule in enumerate(config["rules"]) if rule["_id"] == id_)


def _serves(one: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    if "variationId" in one:
        return {"variation": ids.index(one["variationId"])}
    split = [{"variation": ids.index(id_), "weight": weight} for id_, weight in one["rolloutWeights"].items()]
    return {"rollout": {"variations": split, "contextKind": one.get("rolloutContextKind", "user")}}


def _retarget(config: dict[str, Any], one: dict[str, Any], place: int) -> None:
    kind = one.get("contextKind", "user")
    lists = config["targets" if kind == "user" else "contextTargets"]
    at = next((target for target in lists if (target["variation"], target.get("contextKind", "user")) == (place, kind)), None)
    if at is None:
        at = {"values": [], "variation": place, "contextKind": kind}
        lists.append(at)
    if one["kind"] == "addTargets":
        at["values"] = at["values"] + one["values"]
    else:
        at["values"] = [value for value in at["values"] if value not in one["values"]]


def _check(flag: dict[str, Any]) -> None:
    """Whatever a flag has to fulfil after any patch."""
    count = len(flag["variations"])
    for config in flag["environments"].values():
        for serves in (config["fallthrough"], *config["rules"]):
            if ("variation" in serves) == ("rollout" in serves):
                raise _refused(400, "invalid_patch", "either a variation or a rollout")
            split = serves.get("rollout", {"variations": [{"variation": serves.get("variation"), "weight": TOTAL}]})["variations"]
            if any(set(one) - {"variation", "weight", "untracked"} or one["variation"] not in range(count) for one in split):
                raise _refused(400, "invalid_patch", "variation")
            weights = [one["weight"] for one in split]
            if sum(weights) != TOTAL or any(type(weight) is not int or not 0 <= weight <= TOTAL for weight in weights):
                raise _refused(400, "invalid_patch", "weights are thousandths of a percent and add up to 100000")
        for kind in ("targets", "contextTargets"):
            keys = [(target.get("contextKind", "user"), key) for target in config[kind] for key in target["values"]]
            if len(keys) != len(set(keys)):
                raise _refused(400, "invalid_patch", "a key is targeted twice")
        for place, rule in enumerate(config["rules"]):
            rule.setdefault("_id", f"rule-{place}-{config['version']}")


def _refused(status: int, code: str, message: str) -> Refused:
    return Refused(status, {"code": code, "message": message, "id": "30ce6058-87da-11e4-b116-123b93f75cba"})
