"""All settings together; what each does is said in ``config/guardian.yaml``."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from guardian.errors import wrong
from streams.fields import Port, Section, StoreSection, Strings, Text
from streams.settings.alerts import Alerts
from streams.settings.flagd import Flagd
from streams.settings.kafka import Kafka
from streams.settings.processors import Act, Judge, Observe
from streams.settings.stores import Stores, WebhookStore
from streams.settings.topics import TopicNames
from streams.settings.trust import Privacy, Signing
from streams.stores.kinds import kind_of, propagation_ms
from streams.topics import Topics


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

    def keeping(self, environment: str, flag_key: str) -> dict[str, StoreSection]:
        """Return those of ``targets`` that keep a flag."""
        return {name: target for name, target in self.targets.items() if target.keeps(environment, flag_key)}

    def stores_of(self, environment: str, flag_key: str) -> str:
        """Return which stores keep a flag, as receipts call them: by their names, with a plus between, or by kind."""
        return "+".join(name or target.kind for name, target in self.keeping(environment, flag_key).items())

    def propagation_ms(self, environment: str, flag_key: str) -> int:
        """Return how long the slowest clients of the stores that keep a flag take to follow a change; 0: a few seconds."""
        return max(map(propagation_ms, self.keeping(environment, flag_key).values()), default=0)

    def is_told_by_all(self, environment: str, flag_key: str) -> bool:
        """Say whether every store that keeps a flag tells what it gives whom."""
        return all(kind_of(one.kind).tells for one in self.keeping(environment, flag_key).values())

    @property
    def serves_flagd(self) -> bool:
        """Whether the guardian serves flags itself."""
        return any(target.kind == "flagd" for target in self.targets.values())

    @cached_property
    def topics(self) -> Topics:
        """The names of all topics."""
        return Topics(**self.topic_names.model_dump())
