"""The settings: every problem at once, no secret where it does not belong, and one file that documents them all."""

from __future__ import annotations

import base64
import os
import random
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from guardian.errors import ConfigError
from streams.alerts.table import CHANNELS
from streams.apps.run import processors
from streams.keys import new_private, private_pem
from streams.rights import rights_of
from streams.settings import Settings, load_settings
from streams.settings.topics import TopicNames
from streams.topics import Topics

DOCUMENTED = Path(__file__).parents[2] / "config" / "guardian.yaml"
CHANNEL_NAMES = tuple(f"alerts.{name}." for name in CHANNELS)


def fields(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every setting: its name, its type, its default."""
    for name, info in model.model_fields.items():
        inner = f"{place}.{info.alias or name}".removeprefix(".")
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields(info.annotation, inner)
        else:
            yield inner, info.annotation, info.default


def value_at(document: dict[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value[part]
    return value


def write(directory: Path, text: str) -> Path:
    path = directory / "guardian.yaml"
    path.write_text(text)
    return path


def problems(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_settings(path, environ)
    shown = [str(problem) for problem in raised.value.problems]
    return [line.removeprefix(f"{path.parent}/") for line in shown] if path else shown


# ---------------------------------------------------------------------------- the documented file


@pytest.mark.parametrize(("name", "type_of", "default"), list(fields(Settings)), ids=lambda value: str(value)[:40])
def test_every_setting_is_documented_with_its_default(name, type_of, default):
    """
    ``config/guardian.yaml`` states each setting with its real default and a word on it; of secrets, where they go.
    """
    text = DOCUMENTED.read_text()
    if type_of is SecretStr:
        assert f"GUARDIAN_{name.replace('.', '__').upper()}" in text
        assert f"# {name.rpartition('.')[2]}:" in text
        return
    stated = value_at(yaml.safe_load(text), name)

    assert default == (tuple(stated) if isinstance(stated, list) else stated)


def test_the_documented_file_names_nothing_else():
    """
    The documented file loads, and says what the guardian does without any file.
    """
    assert Settings() == load_settings(DOCUMENTED, {})


def test_every_setting_is_used():
    """
    No setting is there for show: each field is read somewhere in the code, or is a parameter of a channel
    (``tests/contracts/test_channels.py``).
    """
    code = "".join(path.read_text() for path in (DOCUMENTED.parents[1] / "streams").rglob("*.py"))
    read_as = {"alerts.quiet.from": "begins", "alerts.quiet.to": "ends"}  # no names for attributes
    names = {name: read_as.get(name, name.rpartition(".")[2]) for name, _, _ in fields(Settings)}
    unused = [name for name, read in names.items() if not re.search(rf"\.{read}\b", code)]

    assert [] == [name for name in unused if not name.endswith("_file") and not name.startswith(CHANNEL_NAMES)]


def test_the_topics_are_those_of_the_table():
    """
    Each topic of ``streams.topics`` can be named, and is called so if it is not.
    """
    assert asdict(Topics()) == TopicNames().model_dump()
    assert Topics() == Settings().topics


# ---------------------------------------------------------------------------- the environment


def test_the_environment_beats_the_file(tmp_path):
    """
    A variable replaces what the file says of that setting, and of no other.
    """
    path = write(tmp_path, "kafka: {bootstrap: one:9092, group_prefix: mine}\n")

    settings = load_settings(path, {"GUARDIAN_KAFKA__BOOTSTRAP": "two:9092"})

    assert ("two:9092", "mine") == (settings.kafka.bootstrap, settings.kafka.group_prefix)


def test_the_environment_can_say_everything():
    """
    Numbers, truth values and lists are written as text, lists with commas.
    """
    settings = load_settings(
        None,
        {
            "GUARDIAN_API__PORT": "9000",
            "GUARDIAN_KAFKA__EMBEDDED": "true",
            "GUARDIAN_TOPICS__OUTCOMES": "one, two",
            "GUARDIAN_POLICIES": "a,b",
            "GUARDIAN_JUDGE__SNAPSHOT_S": "0.5",
        },
    )

    assert 9000 == settings.api.port
    assert settings.kafka.embedded
    assert ("one", "two") == settings.topics.outcomes
    assert ("a", "b") == settings.policies
    assert 0.5 == settings.judge.snapshot_s


@pytest.mark.parametrize("name", ["GUARDIAN_SERVICE_HOST", "GUARDIAN_PORT", "GUARDIAN_KAFKA", "KAFKA__BOOTSTRAP"])
def test_variables_of_others_are_left_alone(name):
    """
    Kubernetes makes variables for a service called guardian; they are no settings.
    """
    assert Settings() == load_settings(None, {name: "tcp://10.0.0.1:9092"})


# ---------------------------------------------------------------------------- problems


def test_every_problem_is_told_at_once(tmp_path):
    """
    Each wrong setting is named with its file and line, or its variable, its value and what would be right.
    """
    path = write(
        tmp_path,
        "kafka:\n"
        "  bootstrap: [localhost, 'b:9092']\n"
        "  embeded: true\n"
        "judge:\n"
        "  lag_min_ms: 200\n"
        "  lag_max_ms: 100\n"
        "api: {port: 99999}\n"
        "log: {level: loud}\n"
        "topics: {journal: guardian.decisions.v1}\n",
    )

    assert {
        ('guardian.yaml:2: kafka.bootstrap: ["localhost", "b:9092"]: \'localhost\' is no address; '
        "write host:port, such as localhost:9092, or a list of them"),
        "guardian.yaml:3: kafka.embeded: is not known here; did you mean embedded?",
        "guardian.yaml:6: judge.lag_max_ms: 100: must be at least lag_min_ms, which is 200",
        "guardian.yaml:7: api.port: 99999: must be at most 65535",
        "guardian.yaml:8: log.level: 'loud': write one of debug, info, warning, error",
        ('guardian.yaml:9: topics: {"journal": "guardian.decisions.v1"}: '
        "two of the guardian's own topics have the same name; give each its own"),
        "environment: GUARDIAN_ACT__DEADLINE_S: '0': must be above 0.0",
        "environment: GUARDIAN_KAFAK__BOOTSTRAP: is not known here; did you mean kafka?",
    } == set(problems(path, GUARDIAN_ACT__DEADLINE_S="0", GUARDIAN_KAFAK__BOOTSTRAP="a:1"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("kafka: [", "guardian.yaml:2: is no YAML: "),
        ("- kafka", "guardian.yaml:1: is not a mapping (name: value)"),
        ("kafka: 5", "guardian.yaml:1: kafka: is not a mapping (name: value)"),
        ("api: {port: 1}\napi: {port: 2}", "guardian.yaml:2: api: is written twice, first in line 1; keep one"),
        ("topics: {journal: 'a b'}", "guardian.yaml:1: topics.journal: 'a b': is no topic name; "),
        ("topics: {exposures: [guardian.journal.v1]}", "is an input and one of the guardian's own topics"),
        ("topics: {exposures: [], outcomes: []}", "there is nothing to read"),
        ("kafka: {security: {username: me}}", "protocol PLAINTEXT sends no username"),
        ("kafka: {security: {protocol: SASL_SSL, username: me}}", "protocol SASL_SSL needs username and password"),
        ("kafka: {security: {protocol: SSL, ca_file: /not/there}}", "'/not/there': there is no such file"),
        ("alerts: {webhook: {url: 'https://example.com/hook'}}", "a webhook is signed; give secret_file"),
        ("flagd: {document: a/b.json, file: a/../a/b.json}", "is flagd.document, which people edit"),
        ("flagd: {port: 8016, ofrep_port: 8016}", "flagd.ofrep_port: 8016: is flagd.port, too"),
        ("flagd: {ofrep_origins: ['https://Shop.example.com/']}", "'https://Shop.example.com/' is no origin"),
    ],
)
def test_what_would_be_right_is_said(tmp_path, text, right):
    """
    A wrong file is never half used: what is wrong with it is said, and where.
    """
    found = problems(write(tmp_path, f"{text}\n"))

    assert any(right in line for line in found), found


def test_a_file_that_is_not_there_is_told_of(tmp_path):
    """
    A file that was named must be there; without a name, ``config/guardian.yaml`` may be missing.
    """
    assert ["guardian.yaml: cannot be read: No such file or directory"] == problems(tmp_path / "guardian.yaml")


def test_without_any_file_the_defaults_hold(tmp_path, monkeypatch):
    """
    Where there is no ``config/guardian.yaml``, nothing needs to be set.
    """
    monkeypatch.chdir(tmp_path)

    assert Settings() == load_settings(None, {})


def test_a_section_that_is_all_commented_out_has_its_defaults(tmp_path):
    """
    A name with nothing under it means its defaults.
    """
    assert Settings() == load_settings(write(tmp_path, "kafka:\n  # bootstrap: one:1\njudge:\n  snapshot_s:\n"), {})


# ---------------------------------------------------------------------------- secrets


SECRETS = [name for name, type_of, _ in fields(Settings) if type_of is SecretStr]


def test_there_are_secrets():
    """
    The tests below have something to test.
    """
    assert [
        "kafka.security.password", "webhook_store.secret", "flagd.ofrep_tokens", "signing.key", "privacy.salt",
        "alerts.pagerduty.routing_key",
        "alerts.alertmanager.token", "alerts.opsgenie.api_key", "alerts.slack.webhook_url", "alerts.slack.token",
        "alerts.email.password", "alerts.grafana.token", "alerts.webhook.secret", "alerts.apprise.urls",
    ] == SECRETS  # fmt: skip


def nested(name: str, value: str) -> str:
    document: Any = value
    for part in reversed(name.split(".")):
        document = {part: document}
    return yaml.safe_dump(document)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_the_file_is_an_error_that_says_where_to_put_it(tmp_path, name):
    """
    A secret in the YAML file is refused, not shown, and sent to its variable or to a file of its own.
    """
    variable = f"GUARDIAN_{name.replace('.', '__').upper()}"
    found = problems(write(tmp_path, nested(name, "hunter2")))

    assert any(f"{name}: a secret does not belong in this file; put it into {variable}" in line for line in found)
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_comes_from_a_file_or_from_the_environment(tmp_path, name):
    """
    A secret is read from the file that is named beside it; its own variable beats that.
    """
    in_file, in_variable = "from the file, long", "from the variable"
    if name == "signing.key":
        in_file, in_variable = (private_pem(new_private()).decode().strip() for _ in range(2))
    if name == "flagd.ofrep_tokens":
        in_file, in_variable = "token-from-the-file\nand-another-beside-it", "token-from-the-variable"
    if name == "webhook_store.secret":
        in_file, in_variable = (f"whsec_{base64.b64encode(random.randbytes(32)).decode()}" for _ in range(2))
    if name.startswith("alerts."):
        in_file, in_variable = "https://from.file/x", "https://from.variable/x"
    kept = tmp_path / "kept"
    kept.write_text(f"{in_file}\n")
    beside = "    channel: C0123456789\n" if name == "alerts.slack.token" else ""
    path = write(tmp_path, nested(f"{name}_file", str(kept)) + beside)
    variable = f"GUARDIAN_{name.replace('.', '__').upper()}"

    for environ, expected in (({}, in_file), ({variable: in_variable}, in_variable)):
        settings: Any = load_settings(path, environ)
        for part in name.split("."):
            settings = getattr(settings, part)
        assert expected == settings.get_secret_value()


@pytest.mark.parametrize("tokens", ["short", "long-enough-as-a-token short", "öffentlich-und-lang-genug"])
def test_a_token_that_can_be_guessed_is_refused(tokens):
    """
    Tokens of OFREP have a least length and ASCII alone; which they are is not shown.
    """
    found = problems(GUARDIAN_FLAGD__OFREP_TOKENS=tokens)

    assert ["environment: GUARDIAN_FLAGD__OFREP_TOKENS: a token has 16 ASCII characters or more"] == [
        line.partition(", such")[0] for line in found
    ]


def test_a_secrets_file_must_hold_one(tmp_path):
    """
    A file that is missing, empty or given beside the secret itself is told of, by the name it was given under.
    """
    empty = tmp_path / "empty"
    empty.touch()

    assert [
        ("environment: GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY_FILE: the secret is given twice; "
        "keep this or GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY"),
        f"guardian.yaml:1: alerts.webhook.secret_file: '{empty}': the file is empty; it should hold the secret",
    ] == sorted(
        problems(
            write(tmp_path, f"alerts: {{webhook: {{secret_file: {empty}}}}}\n"),
            GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY="a",
            GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY_FILE=str(empty),
        )
    )


@hypothesis_settings(deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_a_misspelt_secret_is_not_shown(name):
    """
    Whatever a person calls a setting that is not there, its value is not shown: it may be a secret.
    """
    variable = f"GUARDIAN_KAFKA__SECURITY__{name.upper()}"
    known = {one.rpartition(".")[2] for one, _, _ in fields(Settings)}
    if name in known or "__" in name:
        return
    with pytest.raises(ConfigError) as raised:
        load_settings(os.devnull, {variable: "hunter2"})

    assert "hunter2" not in str(raised.value)
    assert variable in str(raised.value)


def test_settings_can_be_shown():
    """
    The text of settings, as a log may show it, holds no secret.
    """
    settings = load_settings(None, {"GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY": "hunter2"})

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


# ---------------------------------------------------------------------------- what clients get


def test_clients_get_address_and_security(tmp_path):
    """
    Clients of aiokafka and Faust are told the same: address, user and encryption.
    """
    environ = {
        "GUARDIAN_KAFKA__BOOTSTRAP": "a:1,b:2",
        "GUARDIAN_KAFKA__SECURITY__PROTOCOL": "SASL_SSL",
        "GUARDIAN_KAFKA__SECURITY__USERNAME": "guardian",
        "GUARDIAN_KAFKA__SECURITY__PASSWORD": "hunter2",
    }
    kafka = load_settings(None, environ).kafka

    options = kafka.client_options()
    context = options.pop("ssl_context")
    assert {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "guardian",
        "sasl_plain_password": "hunter2",
    } == options
    assert context.check_hostname
    credentials: Any = kafka.faust_credentials()
    assert ("guardian", "hunter2") == (credentials.username, credentials.password)
    assert "SCRAM-SHA-512" == credentials.mechanism.value


def test_plain_clients_get_nothing_else():
    """
    Without security, the address is all there is, and Faust gets no credentials.
    """
    kafka = Settings().kafka

    assert {"bootstrap_servers": "localhost:9092", "security_protocol": "PLAINTEXT"} == kafka.client_options()
    assert kafka.faust_credentials() is None


# ---------------------------------------------------------------------------- the flag store


def test_a_store_of_ones_own_is_asked_for_all_that_it_needs(tmp_path):
    """
    ``store: webhook`` without address and secret is told of both at once; without that word they are not asked for.
    """
    path = write(tmp_path, "store: webhook\n")

    missing = "webhook_store.url and webhook_store.secret_file (or GUARDIAN_WEBHOOK_STORE__SECRET)"
    assert [f"guardian.yaml: store is webhook; give {missing}, too"] == problems(path)
    assert "" == load_settings(write(tmp_path, "store: flagd\n"), {}).webhook_store.url


def test_everything_that_is_wrong_with_a_store_of_ones_own_is_told_and_nothing_shown(tmp_path):
    """
    Address, secret, time and name are checked at the start, all at once; neither address nor secret is quoted.
    """
    path = write(tmp_path, "store: webhok\nwebhook_store: {url: 'flags.example/s3cr3t', timeout_s: 9, environment: ''}\n")

    found = problems(path, GUARDIAN_WEBHOOK_STORE__SECRET="whsec_s3cr3t")

    assert "s3cr3t" not in "".join(found)
    named = [("store", "webhok"), ("webhook_store.url", "is no address"), ("webhook_store.timeout_s", "4"),
             ("webhook_store.environment", "is empty"), ("GUARDIAN_WEBHOOK_STORE__SECRET", "write whsec_")]  # fmt: skip
    for name, right in named:
        assert any(f"{name}: " in line and right in line for line in found), (name, found)


def test_a_guardian_of_another_store_runs_no_flagd(tmp_path):
    """
    With a store of one's own there is no process for flagd, and asking for it says why; act has no right to flag state.
    """
    secret = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    theirs = Settings.model_validate({"store": "webhook", "webhook_store": {"url": "https://flags.example", "secret": secret}})

    assert "store" in processors("", Settings())
    assert ["observe", "judge", "act", "report", "api"] == processors("", theirs)
    with pytest.raises(ConfigError, match="'store': serves flags of flagd, and the settings name no such store"):
        processors("store,act", theirs)
    topics = {right.name for right in rights_of("act", theirs) if right.operation in ("Read", "Write")}
    assert "guardian.flag-state.v1" not in topics
    assert "guardian.flag-state.v1" in {right.name for right in rights_of("act", Settings()) if right.operation == "Write"}


STORES = """
stores:
  web: {kind: webhook, url: "https://flags.example/a", flags: "web-*, shop-*", secret_file: FILE}
  own: {kind: flagd}
"""


def test_stores_are_named_and_have_the_settings_of_their_kind(tmp_path):
    """Each store under ``stores`` has what its kind has, and a secret from a file; they take the place of ``store``."""
    secret = tmp_path / "secret"
    secret.write_text("whsec_bm90IGEgc2VjcmV0OiBvbmx5IHRlc3RzIHVzZSBpdA==\n")
    found = load_settings(write(tmp_path, STORES.replace("FILE", str(secret))), {"GUARDIAN_STORES__WEB__TIMEOUT_S": "3"})

    web = found.targets["web"]
    assert (["web", "own"], ("web-*", "shop-*"), 3.0) == (list(found.targets), web.flags, web.model_dump()["timeout_s"])
    assert secret.read_text().strip() == web.model_dump()["secret"].get_secret_value()
    assert found.serves_flagd and secret.read_text().strip() not in repr(found)
    assert [""] == list(load_settings(write(tmp_path, "store: flagd\n"), {}).targets)


def test_what_is_wrong_with_a_store_is_told_at_its_place(tmp_path):
    """A kind, a name, a field or a secret that cannot be: each with its line, its field, and what would be right."""
    path = write(
        tmp_path,
        """
stores:
  a: {kind: webhok}
  b: {kind: webhook, urll: "https://flags.example"}
  c: {kind: webhook, url: "https://flags.example", secret: s3cr3t}
""",
    )
    with pytest.raises(ConfigError) as wrong:
        load_settings(path, {})

    told = {problem.field: (problem.line, problem.right) for problem in wrong.value.problems}
    assert (3, "kind: 'webhok': did you mean webhook? write one of") == (told["stores.a"][0], told["stores.a"][1][:50]), told
    assert (4, "is not known here; did you mean url?") == told["stores.b.urll"]
    cure = "is missing; name a file that holds it under secret_file, or set GUARDIAN_STORES__B__SECRET"
    assert (4, cure) == told["stores.b.secret"]
    assert told["stores.c.secret"][1].startswith("a secret does not belong in this file; put it into GUARDIAN_STORES__C__SECRET")
    assert 5 == len(wrong.value.problems) and "s3cr3t" not in str(wrong.value)
    with pytest.raises(ConfigError, match="'A b' is no name of a store"):
        load_settings(write(tmp_path, "stores: {A b: {kind: flagd}}\n"), {})


def test_receipts_call_stores_by_their_names():
    """Of a flag all stores that keep it; the one that has no name is called by its kind, and one of another environment not."""
    named = {
        "web": {"kind": "flagd", "flags": ["web-*"]}, "all": {"kind": "flagd"}, "test": {"kind": "flagd", "environment": "test"}
    }  # fmt: skip
    several = Settings.model_validate({"stores": named})

    assert "flagd" == Settings().stores_of("production", "checkout")
    assert ("web+all", "all") == tuple(several.stores_of("production", flag) for flag in ("web-cart", "checkout"))


def test_a_bound_of_propagation_that_is_set_stands():
    """Without one judge learns how long clients have, within bounds; with one, that is least and most."""
    learned, fixed = Settings().judge.config(), Settings.model_validate({"judge": {"propagation_s": 5}}).judge.config()

    assert (3_000, 30_000) == (learned.propagation_ms, learned.propagation_max_ms)
    assert (5_000, 5_000) == (fixed.propagation_ms, fixed.propagation_max_ms)
