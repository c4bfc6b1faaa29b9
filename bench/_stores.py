"""The stores that a kill is measured at: the settings of each, and a client of it. A store more is an entry more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Client = Any
"""An OpenFeature client: ``get_string_value(flag, default, context)``."""
START_S = 90.0
FILE_LOOK_MS = 50
"""So often the provider looks at the file; its default is 500 ms, that of providers in other languages 5 s."""


@dataclass(frozen=True, slots=True)
class Store:
    """
    A store: sections of settings, and a provider of its clients.

    Both are made of the folder that is the installation's, and of free ports: ``store``, ``other``.
    """

    settings: Callable[[Path, dict[str, int]], dict[str, Any]]
    provider: Callable[[Path, dict[str, int]], Any]


def _flagd(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    return {"flagd": {"port": ports["store"], "document": str(folder / "flags.json")}}


def _file(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    return {"flagd": {**_flagd(folder, ports)["flagd"], "file": str(folder / "served.json")}}


def _ofrep(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    return {"flagd": {**_flagd(folder, ports)["flagd"], "ofrep_port": ports["other"]}}


def _synced(_: Path, ports: dict[str, int]) -> Any:
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    return FlagdProvider(
        host="127.0.0.1", port=ports["store"], resolver_type=ResolverType.IN_PROCESS,
        retry_backoff_ms=100, retry_backoff_max_ms=200, stream_deadline_ms=0, deadline_ms=5_000,
    )  # fmt: skip


def _reading(folder: Path, _: dict[str, int]) -> Any:
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    path = folder / "served.json"
    if not path.is_file():
        raise FileNotFoundError(path)
    return FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), deadline_ms=FILE_LOOK_MS)


def _asking(_: Path, ports: dict[str, int]) -> Any:
    from openfeature.contrib.provider.ofrep import OFREPProvider

    return OFREPProvider(f"http://127.0.0.1:{ports['other']}")


STORES = {
    "flagd": Store(_flagd, _synced),
    "file": Store(_file, _reading),
    "ofrep": Store(_ofrep, _asking),
}


@contextmanager
def client_of(store: str, folder: Path, ports: dict[str, int]) -> Iterator[Client]:
    """
    A client of the store, in this process.

    Raises:
        TimeoutError: its provider does not start.
    """
    from openfeature import api

    until_s = time.monotonic() + START_S
    while True:
        try:
            api.set_provider_and_wait(STORES[store].provider(folder, ports))
            break
        except Exception as error:  # the store is not up yet
            if time.monotonic() > until_s:
                raise TimeoutError(f"no client of {store} has started within {START_S:.0f} s") from error
            time.sleep(0.2)
    yield api.get_client()
    api.shutdown()
