"""What the fields of settings have in common: each type takes what people write, and says what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from guardian.errors import wrong
from guardian.fields import topic_name

_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


class Section(BaseModel):
    """Settings that belong together. Unknown names are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=False, hide_input_in_errors=True
    )


def items(value: Any) -> Any:
    """A list, also of a text with commas, as the environment can only give; anything else as it is."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _servers(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value


def _checked_servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        if not _SERVER.fullmatch(server):
            raise wrong(f"{server!r} is no address; write host:port, such as localhost:9092, or a list of them")
    return ",".join(servers)


def as_asked(value: str, check: Callable[[str, str], object]) -> str:
    """The value, if it is empty or *check* takes it; what it says is told without the value."""
    try:
        _ = value and check("", value)
    except ValueError as error:
        raise wrong(str(error).removeprefix(": ")) from None
    return value


def _existing(value: str) -> str:
    if value and not Path(value).is_file():
        raise wrong("there is no such file")
    return value


Strings = Annotated[tuple[str, ...], BeforeValidator(items)]
Text = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
"""0 is any free port: for tests."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Servers = Annotated[str, BeforeValidator(_servers), AfterValidator(_checked_servers)]
"""``host:port``, several with commas between them."""
ExistingFile = Annotated[str, AfterValidator(_existing)]
"""A file that can be read later; empty for none."""
TopicName = Annotated[str, AfterValidator(topic_name)]
TopicList = Annotated[tuple[TopicName, ...], BeforeValidator(items)]


class StoreSection(Section):
    """
    What every flag store under ``stores:`` has: its *kind*, and which flags of which environment it keeps.

    *environment* is the guardian's word for it; *flags* are patterns (``web-*``). *propagation_s* is how long the slowest
    of its clients take to follow a change; 0 is what is usual for its kind.
    """

    kind: Text
    environment: Text = "production"
    flags: Strings = ("*",)
    propagation_s: float = Field(0.0, ge=0, le=86_400)

    def keeps(self, environment: str, flag_key: str) -> bool:
        """Whether a flag is this store's."""
        return environment == self.environment and any(fnmatchcase(flag_key, pattern) for pattern in self.flags)
