"""Stores that people run, as settings name them: each is opened with what its kind has, and what is wrong is told by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.errors import ConfigError
from guardian.ports import in_common
from streams.settings import load_settings
from streams.stores.kinds import kind_of

STORES = """\
stores:
  shop:
    kind: togglz
    url: http://shop:8080/actuator
    username: guardian
    password_file: SECRET
    flags: "SHOP_*"
  goff: {kind: goff, file: FLAGS, relays: "http://relay-1:1031, http://relay-2:1031", api_key_file: SECRET}
  flipt: {kind: flipt, url: "http://flipt:8080", token_file: SECRET, namespace: shop}
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    secret, flags = tmp_path / "secret", tmp_path / "flags.yaml"
    secret.write_text("hush-hush\n")
    flags.write_text("{}\n")
    return {"SECRET": str(secret), "FLAGS": str(flags)}


def written(tmp_path: Path, text: str, files: dict[str, str]) -> Path:
    for name, file in files.items():
        text = text.replace(name, file)
    path = tmp_path / "guardian.yaml"
    path.write_text(text)
    return path


def test_each_has_the_settings_of_its_kind(tmp_path: Path, files: dict[str, str]):
    """Addresses, files and secrets of several stores stand beside one another; no secret is shown."""
    found = load_settings(written(tmp_path, STORES, files), {})

    shop, goff, flipt = (found.targets[name].model_dump() for name in ("shop", "goff", "flipt"))
    assert ("guardian", "hush-hush") == (shop["username"], shop["password"].get_secret_value())
    assert (("http://relay-1:1031", "http://relay-2:1031"), "hush-hush") == (goff["relays"], goff["api_key"].get_secret_value())
    assert ("shop", "hush-hush") == (flipt["namespace"], flipt["token"].get_secret_value())
    assert "hush-hush" not in repr(found)


def test_together_they_can_do_what_each_of_them_can(tmp_path: Path, files: dict[str, str]):
    """Togglz cannot compare and set, has whole percents and no rings: so have all of them together."""
    found = load_settings(written(tmp_path, STORES, files), {})
    able = in_common([kind_of(section.kind).capabilities for section in found.targets.values()])

    assert (False, False, 0.01) == (able.has_compare_and_set, able.can_target_rings, able.finest_share)
    assert [False, True, True] == [kind_of(kind).keeps_record for kind in ("togglz", "goff", "flipt")]


def test_what_is_wrong_is_told_by_its_place(tmp_path: Path, files: dict[str, str]):
    """A secret in the file, a login by half, a relay without a key: each with its line, and what would be right."""
    text = """\
stores:
  a: {kind: togglz, url: "http://shop/actuator", token: hush-hush}
  b: {kind: togglz, url: "http://shop/actuator", username: guardian}
  c: {kind: goff, file: FLAGS, relays: "http://relay:1031"}
  d: {kind: flipt, url: flipt}
"""
    with pytest.raises(ConfigError) as wrong:
        load_settings(written(tmp_path, text, files), {})

    told = {problem.field: (problem.line, problem.right) for problem in wrong.value.problems}
    elsewhere = "a secret does not belong in this file; put it into GUARDIAN_STORES__A__TOKEN, or into a file named by token_file"
    assert (2, elsewhere) == told["stores.a.token"]
    assert 3 == told["stores.b"][0] and told["stores.b"][1].startswith("a login needs both")
    assert 4 == told["stores.c"][0] and "give api_key_file one of their authorizedKeys.admin" in told["stores.c"][1]
    assert 5 == told["stores.d.url"][0] and "is no address" in told["stores.d.url"][1]
    assert "hush-hush" not in str(wrong.value)
