"""Settings of a store in Unleash, and answers of it that no server of today gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardian.errors import ConfigError
from guardian.ports import StoreError
from streams.settings import load_settings
from streams.stores.shares.flag import Malformed
from streams.stores.unleash.strategy import read_flag

TOKEN = "user:5ecret5ecret"


def written(folder: Path, **fields: Any) -> Path:
    (folder / "token").write_text(f"{TOKEN}\n")
    store = {"kind": "unleash", "url": "https://unleash.example.com/", "token_file": str(folder / "token"), **fields}
    (path := folder / "guardian.yaml").write_text(json.dumps({"stores": {"web": store}}))
    return path


def test_what_is_needed_is_an_address_and_a_token(tmp_path: Path):
    """The project is ``default`` and the environment has the guardian's name, unless others are given; no token is shown."""
    settings = load_settings(written(tmp_path), {})

    section: Any = settings.targets["web"]
    assert ("https://unleash.example.com", "default", "") == (section.url, section.project, section.unleash_environment)
    assert TOKEN == section.token.get_secret_value()
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"token_file": ""}, "stores.web.token: is missing; name a file that holds it under token_file, or set"),
        ({"url": "unleash.example.com"}, "stores.web.url: is no address; write one such as https://"),
        ({"url": "https://unleash.example.com/api/"}, "write that of Unleash itself, without /api"),
        ({"token": TOKEN, "token_file": ""}, "a secret does not belong in this file"),
        ({"projekt": "web"}, "projekt"),
        ({"timeout_s": 9}, "stores.web.timeout_s"),
        ({"project": ""}, "stores.web.project"),
    ],
)
def test_wrong_settings_are_named_at_the_start(tmp_path: Path, given: dict[str, Any], text: str):
    """Each wrong field is named with what would be right, and no token with it."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(written(tmp_path, **given), {})

    assert text in str(wrong.value)
    assert TOKEN not in str(wrong.value)


def test_a_token_is_written_without_bearer(tmp_path: Path):
    """Unleash takes the token alone."""
    path = written(tmp_path)
    (tmp_path / "token").write_text(f"Bearer {TOKEN}")

    with pytest.raises(ConfigError, match='is no token; write it as Unleash showed it, without "Bearer"') as wrong:
        load_settings(path, {})

    assert TOKEN not in str(wrong.value)


def flag(**fields: Any) -> bytes:
    strategy = {"id": "1", "name": "flexibleRollout", "parameters": {"rollout": "10", "stickiness": "userId"}}
    environment = {"name": "production", "enabled": True, "strategies": [{**strategy, **fields.pop("strategy", {})}]}
    return json.dumps({"name": "checkout", "environments": [{**environment, **fields}]}).encode()


def test_variants_of_an_environment_are_refused():
    """Flags of servers before 5.3 may have them still; no server makes them any more."""
    old = [{"name": "a", "weight": 1000}]

    with pytest.raises(StoreError, match="variants of the environment, which are deprecated; make them variants of its strategy"):
        read_flag(flag(variants=old), "checkout", at="production", environment="production")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "object"),
        (b"[" * 100_000, ""),
        (flag(strategy={"parameters": {"rollout": 10}}), "Expected `str`, got `int`"),
        (flag(strategy={"parameters": {"rollout": "10", "guardian": "{"}}), "guardian: "),
        (flag(strategy={"variants": [{"name": "a"}, {"name": "b"}]}), "weight"),
        (flag().replace(b"checkout", b"search"), "asked for was 'checkout'; is a cache between?"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(body: bytes, text: str):
    """An answer that does not hold the flag is malformed, and the text says where."""
    with pytest.raises(Malformed) as wrong:
        read_flag(body, "checkout", at="production", environment="production")

    assert text in str(wrong.value)
