"""What policies are compared with besides themselves: the time, the rollouts that are known, where flags are kept."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime

from guardian.flagdoc import Document
from guardian.ports import StoreCapabilities


@dataclass(frozen=True, slots=True)
class Home:
    """
    Where a flag is kept: in a *document*, where that is known, by stores that can do *store* together.

    *lacking* is the field of a policy by which no store keeps its flag, empty where one does; *right* says what would be.
    """

    document: Document | None = None
    store: StoreCapabilities | None = None
    lacking: str = ""
    right: str = ""


ANYWHERE = Home()


@dataclass(frozen=True, slots=True)
class Beside:
    """
    What policies are compared with besides themselves.

    At *now*, calendars that are over are problems, but for the rollouts *known*: these may have come to their end.
    *home* says where the flag of an environment is kept, both by name. *inputs* are the topics that are read, ``None`` where
    that is not known, and *exposures* those of them that are meant for exposures.
    """

    now: datetime | None = None
    known: Container[str] = ()
    home: Callable[[str, str], Home] = lambda _environment, _flag: ANYWHERE
    inputs: tuple[str, ...] | None = None
    exposures: tuple[str, ...] = ()


ALONE = Beside()
