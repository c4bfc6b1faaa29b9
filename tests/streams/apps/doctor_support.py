"""What tests of the doctor share: settings of stores, policies, and what was found about one thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guardian.policy import Policy
from streams.findings import Finding
from streams.settings import Settings
from tests.support.stores import launchdarkly as ld


def policy(flag: str = "checkout-v2", **fields: Any) -> Policy:
    guardrails = [{"when": "error_rate > 5%", "then": "kill"}]
    return Policy.from_document({"flag": flag, "environment": "production", "guardrails": guardrails, **fields})


def launchdarkly(vendor: ld.LaunchDarkly, **fields: Any) -> dict[str, Any]:
    return {"kind": "launchdarkly", "url": vendor.url, "token": ld.TOKEN, "project": ld.PROJECT, **fields}


def settings_of(**stores: Any) -> Settings:
    return Settings.model_validate({"stores": stores})


def wrong(found: Iterable[Finding]) -> list[Finding]:
    """All that is not as it should be."""
    return [one for one in found if one.level != "ok"]
