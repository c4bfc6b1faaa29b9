"""The official Python providers, asked over standard input: ``client.py flagd|ofrep PORT``. Runs in any version of them."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext

PATIENCE_S = 30.0


def provider(way: str, port: int) -> Any:
    """The provider, with what docs/stores.md recommends."""
    if way == "ofrep":
        from openfeature.contrib.provider.ofrep import OFREPProvider

        return OFREPProvider(f"http://127.0.0.1:{port}")
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    return FlagdProvider(
        host="127.0.0.1", port=port, resolver_type=ResolverType.IN_PROCESS, deadline_ms=10_000,
        retry_backoff_ms=100, retry_backoff_max_ms=200, stream_deadline_ms=0,
    )  # fmt: skip


def details(client: Any, flag: str, user: int) -> Any:
    return client.get_string_details(flag, "", EvaluationContext(f"user-{user}"))


def answer(client: Any, question: dict[str, Any]) -> Any:
    flag = question["flag"]
    if question["do"] == "treated":
        return [user for user in range(question["users"]) if details(client, flag, user).variant == "treatment"]
    until_s = time.monotonic() + PATIENCE_S
    while (seen := details(client, flag, 0).flag_metadata.get("version")) != question["version"]:
        if time.monotonic() > until_s:
            raise TimeoutError(f"still sees {seen}")
        time.sleep(0.001)
    return time.time() * 1000


def say(said: dict[str, Any]) -> None:
    print(json.dumps(said), flush=True)


def main() -> None:
    way, port = sys.argv[-2:]
    api.set_provider_and_wait(provider(way, int(port)))
    client = api.get_client()
    say({"answer": "ready"})
    for line in sys.stdin:
        try:
            say({"answer": answer(client, json.loads(line))})
        except Exception as error:  # noqa: BLE001 - told to who asked
            say({"error": repr(error)})
    os._exit(0)  # threads of the provider would try to connect again first


if __name__ == "__main__":
    main()
