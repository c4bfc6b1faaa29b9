"""How each channel is reached; one section a channel, whose fields are the parameters of its adapter."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from guardian.errors import wrong
from streams.fields import ExistingFile, Port, Section, Strings, Text, as_asked
from streams.web import checked_url


def _address(value: str) -> str:
    return as_asked(value, checked_url)


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_address, values))


def _mailbox(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not (at and local and domain) or any(not "!" <= one <= "~" or one in '<>,;:"()' for one in value):
        raise wrong("is no e-mail address; write one such as guardian@example.com, without a name")
    return value


def _mailboxes(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_mailbox, values))


def _one_word(value: SecretStr) -> SecretStr:
    if any(one.isspace() or not one.isprintable() for one in value.get_secret_value()):
        raise wrong("has spaces or line ends in it; it is one word")
    return value


def _service_urls(value: Any) -> Any:
    """Apprise's addresses, a line each or with spaces between them, as a file of them has."""
    return " ".join(value) if isinstance(value, list) else value


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[Strings, AfterValidator(_addresses)]
Mailbox = Annotated[str, AfterValidator(lambda value: value and _mailbox(value))]
Mailboxes = Annotated[Strings, AfterValidator(_mailboxes)]
Token = Annotated[SecretStr, AfterValidator(_one_word)]


class ChannelSection(Section):
    """A channel; it is used where the first of its ``needs`` is given, and then needs the others."""

    needs: ClassVar[tuple[str, ...]]

    @property
    def is_set(self) -> bool:
        """Whether this channel is used."""
        return bool(getattr(self, self.needs[0]))

    def options(self) -> dict[str, Any]:
        """Return the parameters of its adapter; secrets are not hidden any more."""
        names = type(self).model_fields
        files = {f"{name}_file" for name in names}
        given = {name: getattr(self, name) for name in names if name not in files}
        return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given.items()}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in self.needs if not getattr(self, name)]
        if self.is_set and missing:
            raise wrong(f"{self.needs[0]} is given, but not {' nor '.join(missing)}")
        return self


class PagerDuty(ChannelSection):
    """Pages; without a routing key there are none."""

    needs = ("routing_key",)
    url: Text = "https://events.pagerduty.com/v2/enqueue"
    routing_key: SecretStr = SecretStr("")
    routing_key_file: str = ""
    change_events: bool = True


class Alertmanager(ChannelSection):
    """Alerts, in each of these."""

    needs = ("urls",)
    urls: Addresses = ()
    token: Token = SecretStr("")
    token_file: str = ""


class Opsgenie(ChannelSection):
    """Alerts of Opsgenie, or of Operations in Jira Service Management."""

    needs = ("api_key", "url")
    url: Address = "https://api.opsgenie.com/v2/alerts"
    api_key: Token = SecretStr("")
    api_key_file: str = ""


class Slack(ChannelSection):
    """Messages, by an incoming webhook or by a bot."""

    needs = ()
    webhook_url: SecretStr = SecretStr("")
    webhook_url_file: str = ""
    token: Token = SecretStr("")
    token_file: str = ""
    channel: str = ""
    url: Address = "https://slack.com/api"
    upload_chart: bool = True

    @property
    def is_set(self) -> bool:
        """Whether this channel is used."""
        return bool(self.webhook_url or self.token)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.webhook_url and self.token:
            raise wrong("both webhook_url and token are given; keep one: the token can answer in threads")
        if self.token and not (self.channel and self.url):
            raise wrong("token is given, but no channel; write the id of one, such as C0123456789")
        as_asked(self.webhook_url.get_secret_value(), lambda _, value: checked_url("webhook_url", value))
        return self


class Email(ChannelSection):
    """E-mails; without a host there are none."""

    needs = ("host", "sender", "to")
    host: str = Field("", pattern=r"^[A-Za-z0-9.:_-]*$")
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: ExistingFile = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    sender: Mailbox = ""
    to: Mailboxes = ()
    owners: dict[str, Mailboxes] = Field({})

    @model_validator(mode="after")
    def _not_in_the_clear(self) -> Self:
        if self.tls == "none" and self.password:
            raise wrong("tls is none, and would send the password in the clear; write starttls or tls")
        if self.is_set and bool(self.username) != bool(self.password):
            raise wrong("username and password go together; give both or neither")
        return self


class Grafana(ChannelSection):
    """Annotations; without an address there are none."""

    needs = ("url", "token")
    url: Address = ""
    token: Token = SecretStr("")
    token_file: str = ""


class Webhook(ChannelSection):
    """Every decision and receipt, signed; without an address there are none."""

    needs = ("url",)
    url: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.url and not self.secret:
            raise wrong("a webhook is signed; give secret_file, or GUARDIAN_ALERTS__WEBHOOK__SECRET")
        return self


class Apprise(ChannelSection):
    """Services that Apprise can reach; each address holds what it needs, so they are secrets."""

    needs = ("urls",)
    urls: Annotated[SecretStr, BeforeValidator(_service_urls)] = SecretStr("")
    urls_file: str = ""

    def options(self) -> dict[str, Any]:
        """Return the addresses, one by one."""
        return {"urls": self.urls.get_secret_value().split()}


class Channels(Section):
    """All channels: each has the name that it has in ``streams.alerts.table``."""

    pagerduty: PagerDuty = PagerDuty()
    alertmanager: Alertmanager = Alertmanager()
    opsgenie: Opsgenie = Opsgenie()
    slack: Slack = Slack()
    email: Email = Email()
    grafana: Grafana = Grafana()
    webhook: Webhook = Webhook()
    apprise: Apprise = Apprise()
