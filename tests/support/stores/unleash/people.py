"""What people do in Unleash, by the same requests as its pages."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from tests.support.stores.unleash.server import ADMIN, address

USER, PASSWORD = "rollout-guardian", "not-a-secret-4-guardians"
EDITOR, VIEWER = 2, 3
_numbers = itertools.count(1)

Weights = Mapping[str, int]


class Unleash:
    """The flags of project ``default``; who makes a change is ``admin``."""

    _made: ClassVar[set[str]] = set()

    def __init__(self, environment: str = "production") -> None:
        self.url, self.environment = address(), environment
        self._session = httpx.Client(headers={"authorization": ADMIN}, timeout=30.0)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request below ``/api/admin``; fails where it is refused."""
        answer = self._session.request(method, f"{self.url}/api/admin/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def flag(
        self, name: str = "", *, weights: Weights | None = None, rollout: str = "100", on: bool = True, **strategy: Any
    ) -> str:
        """A new flag (its name) with one strategy, whose variants have *weights* in thousandths."""
        name = name or f"flag-{next(_numbers)}"
        self.ask("POST", "projects/default/features", {"name": name, "type": "release"})
        self.add(name, weights=weights, rollout=rollout, **strategy)
        if on:
            self.ask("POST", f"{self._place(name)}/on")
        return name

    def add(self, name: str, *, weights: Weights | None = None, rollout: str = "100", **strategy: Any) -> str:
        """One more strategy; returns its id."""
        given = {
            "name": "flexibleRollout",
            "parameters": {"rollout": rollout, "stickiness": "userId", "groupId": name},
            "constraints": [],
            "variants": _variants(weights or {}),
            **strategy,
        }
        made: str = self.ask("POST", f"{self._place(name)}/strategies", given)["id"]
        return made

    def renew(self, name: str, *, weights: Weights) -> None:
        """The flag as if it had just been made."""
        if name in self._made:
            parameters = {"rollout": "100", "stickiness": "userId", "groupId": name}
            self.save(name, parameters=parameters, variants=_variants(weights))
        else:
            self._made.add(self.flag(name, weights=weights))

    def strategies(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"{self._place(name)}/strategies")
        return found

    def strategy(self, name: str) -> dict[str, Any]:
        """The one strategy of a flag."""
        (found,) = self.strategies(name)
        return found

    def save(self, name: str, **fields: Any) -> None:
        """Save a strategy as the page does: all of it, as it was loaded, with *fields* changed."""
        loaded = self.strategy(name)
        shown = ("name", "title", "constraints", "parameters", "variants", "disabled")
        payload = {key: loaded[key] for key in shown} | {"segments": loaded.get("segments", [])}
        self.ask("PUT", f"{self._place(name)}/strategies/{loaded['id']}", {**payload, **fields})

    def weigh(self, name: str, weights: Weights) -> None:
        """A person's change of the weights of variants."""
        self.save(name, variants=_variants(weights))

    def roll(self, name: str, rollout: str) -> None:
        """A person's change of the rollout."""
        self.save(name, parameters={**self.strategy(name)["parameters"], "rollout": rollout})

    def events(self, name: str, limit: int = 10) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"search/events?feature=IS:{name}&limit={limit}")["events"]
        return found

    def switch(self, name: str, to: str) -> None:
        """``on`` or ``off``."""
        self.ask("POST", f"{self._place(name)}/{to}")

    def archive(self, name: str) -> None:
        self.ask("DELETE", f"projects/default/features/{name}")

    def _place(self, name: str) -> str:
        return f"projects/default/features/{name}/environments/{self.environment}"


def weights_of(strategy: Mapping[str, Any]) -> dict[str, int]:
    return {variant["name"]: variant["weight"] for variant in strategy["variants"]}


def _variants(weights: Weights) -> list[dict[str, Any]]:
    """The first has what is left."""
    return [
        {
            "name": name, "weight": weight, "weightType": "fix" if number else "variable", "stickiness": "userId",
            "payload": {"type": "string", "value": f"value of {name}"},
        }
        for number, (name, weight) in enumerate(weights.items())
    ]  # fmt: skip


@functools.cache
def token(role: int = EDITOR) -> str:
    """A personal access token of a user made for it, as docs/stores.md asks for."""
    admin, name = Unleash(), USER if role == EDITOR else f"{USER}-{role}"
    user = {"name": name, "username": name, "rootRole": role, "sendEmail": False, "password": PASSWORD}
    admin.ask("POST", "user-admin", user)
    with httpx.Client(base_url=admin.url, timeout=30.0) as session:
        session.post("/auth/simple/login", json={"username": name, "password": PASSWORD}).raise_for_status()
        asked = {"description": "guardian", "expiresAt": "2099-12-31T00:00:00Z"}
        secret: str = session.post("/api/admin/user/tokens", json=asked).json()["secret"]
    return secret
