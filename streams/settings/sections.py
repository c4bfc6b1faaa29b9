"""Every setting, by section; what each does is said in ``config/guardian.yaml``."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from guardian.errors import wrong
from streams.fields import Port, Seconds, Section, StoreSection, Strings, Text, TopicList, TopicName, as_asked
from streams.keys import Keys, read_private, read_public
from streams.settings.alerts import Flow
from streams.settings.channels import Channels
from streams.settings.kafka import Kafka
from streams.settings.stores import Stores
from streams.stores.kinds import kind_of
from streams.topics import Topics
from streams.web import checked_url
from streams.webhooks import key_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from guardian.engine import JudgeConfig

SALT_LEAST = 16
"""Characters: with fewer the salt itself could be guessed."""
TOKEN_LEAST = 16
_ORIGIN = re.compile(r"\*|https?://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
"""As browsers send it: in small letters, without a path."""
_DEFAULT = Topics()


class TopicNames(Section):
    """The fields of ``streams.topics.Topics``."""

    exposures: TopicList = _DEFAULT.exposures
    outcomes: TopicList = _DEFAULT.outcomes
    feedback: TopicList = _DEFAULT.feedback
    journal: TopicName = _DEFAULT.journal
    rollouts: TopicName = _DEFAULT.rollouts
    decisions: TopicName = _DEFAULT.decisions
    receipts: TopicName = _DEFAULT.receipts
    flag_state: TopicName = _DEFAULT.flag_state
    incidents: TopicName = _DEFAULT.incidents
    dead_letters: TopicName = _DEFAULT.dead_letters

    @model_validator(mode="after")
    def _apart(self) -> Self:
        topics = Topics(**self.model_dump())
        if len(topics.own) < len(_DEFAULT.own):
            raise wrong("two of the guardian's own topics have the same name; give each its own")
        if both := sorted(set(topics.own) & set(topics.inputs)):
            raise wrong(f"{both[0]} is an input and one of the guardian's own topics; give each its own")
        if not topics.exposures and not topics.outcomes:
            raise wrong("there is nothing to read; name a topic under exposures or outcomes")
        return self


class Observe(Section):
    """How events are read and summed."""

    flush_ms: int = Field(100, ge=20, le=5_000)
    max_flush_records: int = Field(50_000, ge=100, le=1_000_000)
    bare_topics: TopicList = ()
    duplicates_window: int = Field(130_000, ge=0, le=50_000_000)
    future_tolerance_ms: int = Field(5_000, ge=0, le=3_600_000)
    transaction_timeout_ms: int = Field(10_000, ge=3_000, le=900_000)
    stuck_after_s: Seconds = 3.0
    workers: int = Field(4, ge=1, le=64)


class Judge(Section):
    """How the journal is judged."""

    snapshot_s: Seconds = 2.0
    lag_min_ms: int = Field(100, ge=0, le=3_600_000)
    lag_max_ms: int = Field(15_000, ge=0, le=3_600_000)
    idle_source_s: Seconds = 5.0
    propagation_s: float = Field(0.0, ge=0, le=86_400)
    storm_kills: int = Field(3, ge=1, le=1_000_000)
    storm_s: Seconds = 10.0
    rebuild_entries: int = Field(1_000_000, ge=1_000, le=1_000_000_000)

    @field_validator("lag_max_ms")
    @classmethod
    def _above(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("lag_min_ms", 0)
        if value < least:
            raise wrong(f"must be at least lag_min_ms, which is {least}")
        return value

    def config(self) -> JudgeConfig:
        """What the engine is told of it; a bound of propagation that somebody set stands, whatever is learned."""
        from guardian.engine import JudgeConfig

        set_ms = round(self.propagation_s * 1000)
        bounds = {"propagation_ms": set_ms, "propagation_max_ms": set_ms} if set_ms else {}

        return JudgeConfig(
            lag_min_ms=self.lag_min_ms,
            lag_max_ms=self.lag_max_ms,
            idle_source_ms=round(self.idle_source_s * 1000),
            storm_kills=self.storm_kills,
            storm_ms=round(self.storm_s * 1000),
            **bounds,
        )


class Act(Section):
    """How decisions are carried out."""

    deadline_s: Seconds = 60.0
    drift_every_s: float = Field(30.0, ge=0, le=86_400)
    hook_host: Text = "127.0.0.1"
    hook_port: Port = 0


class Flagd(Section):
    """The flag document, and where flagd and its clients get it."""

    host: Text = "127.0.0.1"
    port: Port = 8015
    document: Text = "config/flags.json"
    environment: Text = "production"
    file: str = ""
    ofrep_port: Port = 0
    ofrep_origins: Strings = ()
    ofrep_tokens: SecretStr = SecretStr("")
    ofrep_tokens_file: str = ""

    @field_validator("file")
    @classmethod
    def _another(cls, value: str, info: ValidationInfo) -> str:
        document = info.data.get("document")
        if value and document and Path(value).resolve() == Path(document).resolve():
            raise wrong("is flagd.document, which people edit and the guardian only reads; name another file")
        return value

    @field_validator("ofrep_port")
    @classmethod
    def _free(cls, value: int, info: ValidationInfo) -> int:
        if value and value == info.data.get("port"):
            raise wrong("is flagd.port, too; give each a port of its own")
        return value

    @field_validator("ofrep_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise wrong(f'{origin!r} is no origin; write one such as https://shop.example.com, or "*" for all')
        return value

    @field_validator("ofrep_tokens")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        tokens = value.get_secret_value().split()
        if any(len(token) < TOKEN_LEAST or not token.isascii() for token in tokens):
            raise wrong(f"a token has {TOKEN_LEAST} ASCII characters or more, such as openssl rand -hex 32; one a line")
        return value


class WebhookStore(Section):
    """A flag store of one's own behind an address; used where ``store`` says so."""

    url: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    environment: Text = "production"
    timeout_s: float = Field(1.5, ge=0.05, le=4.0)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        return as_asked(value, checked_url)

    @field_validator("secret")
    @classmethod
    def _of_standard_webhooks(cls, value: SecretStr) -> SecretStr:
        as_asked(value.get_secret_value(), key_of)
        return value


class Signing(Section):
    """What decisions and receipts are signed with, and whose signatures count; without any key nothing is signed."""

    key: SecretStr = SecretStr("")
    key_file: str = ""
    trusted: Strings = ()

    @model_validator(mode="after")
    def _readable(self) -> Self:
        # Read here, so that what is wrong is said at the start, and what is a key then stays one.
        _ = self.keys
        return self

    @cached_property
    def keys(self) -> Keys:
        """The keys themselves."""
        try:
            private = read_private(pem) if (pem := self.key.get_secret_value()) else None
        except ValueError as error:
            raise wrong(f"key {error}") from None
        return Keys(private, [_public(file) for file in self.trusted])


def propagation_ms(store: StoreSection) -> int:
    """Return how long the slowest clients of a store take to follow a change: as it is set, or as is usual for its kind."""
    return round(store.propagation_s * 1_000 or kind_of(store.kind).capabilities.slowest_propagation_ms)


def _public(file: str) -> Ed25519PublicKey:
    try:
        return read_public(Path(file).read_bytes())
    except OSError as error:
        raise wrong(f"trusted: {file!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise wrong(f"trusted: {file!r} {error}") from None


class Privacy(Section):
    """What is done so that nobody learns from the guardian's topics who used what."""

    salt: SecretStr = SecretStr("")
    salt_file: str = ""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if 0 < len(self.salt.get_secret_value().encode()) < SALT_LEAST:
            raise wrong(f"salt is too short to be one; write {SALT_LEAST} random characters or more: openssl rand -hex 32")
        return self


class Alerts(Flow, Channels):
    """Who is told."""


class Api(Section):
    """The API and its page."""

    host: Text = "127.0.0.1"
    port: Port = 8080


class Health(Section):
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    host: Text = "127.0.0.1"
    port: Port = 8081


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool = False


class Settings(Section):
    """All settings."""

    kafka: Kafka = Kafka()
    topic_names: TopicNames = Field(TopicNames(), alias="topics")
    partitions: int = Field(8, ge=1, le=10_000)
    replication: int = Field(0, ge=0, le=100)
    observe: Observe = Observe()
    judge: Judge = Judge()
    act: Act = Act()
    store: Literal["flagd", "webhook"] = "flagd"
    webhook_store: WebhookStore = Field(WebhookStore(), validate_default=True)
    stores: Stores = Field({})
    flagd: Flagd = Flagd()
    signing: Signing = Signing()
    privacy: Privacy = Privacy()
    alerts: Alerts = Alerts()
    api: Api = Api()
    health: Health = Health()
    log: Log = Log()
    policies: Strings = ("config/policies",)
    policies_default: str = ""

    @field_validator("webhook_store")
    @classmethod
    def _complete(cls, value: WebhookStore, info: ValidationInfo) -> WebhookStore:
        if info.data.get("store") != "webhook":
            return value
        missing = [] if value.url else ["webhook_store.url"]
        missing += [] if value.secret else ["webhook_store.secret_file (or GUARDIAN_WEBHOOK_STORE__SECRET)"]
        if missing:
            raise wrong(f"store is webhook; give {' and '.join(missing)}, too")
        return value

    @cached_property
    def targets(self) -> dict[str, StoreSection]:
        """
        The flag stores that act changes, by name: those of ``stores``, or the one that ``store`` says.

        That one has no name (``""``): receipts call it by its kind.
        """
        if self.stores:
            return self.stores
        if self.store == "flagd":
            return {"": StoreSection(kind="flagd", environment=self.flagd.environment)}
        from streams.stores.webhook.kind import WebhookSection

        return {"": WebhookSection(kind="webhook", **self.webhook_store.model_dump())}

    def stores_of(self, environment: str, flag_key: str) -> str:
        """Return which stores keep a flag, as receipts call them: by their names, with a plus between, or by kind."""
        keeping = [(name, target) for name, target in self.targets.items() if target.keeps(environment, flag_key)]
        return "+".join(name or target.kind for name, target in keeping)

    def propagation_ms(self, environment: str, flag_key: str) -> int:
        """Return how long the slowest clients of the stores that keep a flag take to follow a change; 0: a few seconds."""
        keeping = [target for target in self.targets.values() if target.keeps(environment, flag_key)]
        return max(map(propagation_ms, keeping), default=0)

    def is_told_by_all(self, environment: str, flag_key: str) -> bool:
        """Say whether every store that keeps a flag tells what it gives whom."""
        return all(kind_of(one.kind).tells for one in self.targets.values() if one.keeps(environment, flag_key))

    @property
    def serves_flagd(self) -> bool:
        """Whether the guardian serves flags itself."""
        return any(target.kind == "flagd" for target in self.targets.values())

    @cached_property
    def topics(self) -> Topics:
        """The names of all topics."""
        return Topics(**self.topic_names.model_dump())


