"""The API as the command line asks it: one question at a time, and what a person is told where there is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TextIO
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from guardian.errors import GuardianError, ProblemsError
from streams.settings import load_settings

TIMEOUT_S = 5.0
DONE, UNDONE, WRONG, UNREACHED = 0, 1, 2, 4
"""Exit codes. 1: what was wanted stands in the journal, and has not come about."""
LOCAL = ("localhost", "127.0.0.1", "::1")
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what the API listens on, not this
"""An address that listens everywhere is asked at its own machine."""


class NotReached(GuardianError):
    """Nobody answers there, or not as the API does; the text names the address and what can be done."""


class NotThere(GuardianError):
    """The API knows nothing of this name."""


class Wrong(GuardianError):
    """What was asked for cannot be; the text says what would be right."""


class Client:
    """
    Asks the API at *url*.

    Each question raises NotReached, NotThere or Wrong where there is no answer to it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = _opener(url)

    def get(self, path: str, **query: str) -> Any:
        """Return what stands at a path such as ``/rollouts``, as plain JSON."""
        return self._ask(Request(f"{self.url}/api{path}{'?' if query else ''}{urlencode(query)}"))  # noqa: S310

    def post(self, path: str, content: dict[str, str]) -> Any:
        """Send a JSON document; return the answer."""
        headers = {"content-type": "application/json"}
        return self._ask(Request(f"{self.url}/api{path}", json.dumps(content).encode(), headers))  # noqa: S310

    def send(self, path: str, content: bytes, **query: str) -> Any:
        """Send a document as it is; return the answer."""
        return self._ask(Request(f"{self.url}/api{path}?{urlencode(query)}", content, {"content-type": "text/plain"}))  # noqa: S310

    def _ask(self, request: Request) -> Any:
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise _said(error, self.url) from None
        except (ValueError, HTTPException):
            raise NotReached(f"{self.url} answers, but not as the guardian's API does; {_ADVICE}") from None
        except OSError as error:
            cause = getattr(error, "reason", error)
            why = getattr(cause, "strerror", None) or cause
            raise NotReached(f"no API at {self.url}: {why}; {_ADVICE}") from None


_ADVICE = "is `guardian run` up there? name another address with --api URL, or in the settings under api:"


def path_of(kind: str, name: str) -> str:
    """Return the path of one thing; names may hold anything."""
    return f"/{kind}/{quote(name, safe='')}"


def client(config: Path | None, url: str) -> Client:
    """
    Return a client of the API at *url*, or where the settings say that it is.

    Raises:
        Wrong: the address is none.
        ConfigError: the settings cannot be read.
    """
    if not url:
        api = load_settings(config).api
        if not api.port:
            raise Wrong("api.port is 0, which is any free port; name the address with --api URL")
        host = ANYWHERE.get(api.host, api.host)
        url = f"http://{f'[{host}]' if ':' in host else host}:{api.port}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Wrong(f"--api {url!r} is no address; write --api http://127.0.0.1:8080")
    return Client(url.rstrip("/"))


def answered(work: Callable[[], int], err: TextIO) -> int:
    """Do the work of a command; return its exit code, and say on *err* what was in its way."""
    try:
        return work()
    except (Wrong, NotThere, ProblemsError) as error:
        err.write(f"{error}\n")
        return WRONG
    except NotReached as error:
        err.write(f"{error}\n")
        return UNREACHED


def _opener(url: str) -> OpenerDirector:
    # A proxy for the world outside knows nothing of this machine.
    return build_opener(ProxyHandler({})) if urlsplit(url).hostname in LOCAL else build_opener()


def _said(error: HTTPError, url: str) -> GuardianError:
    """Return what an answer that is none means, in the API's own words where it has some."""
    try:
        detail = json.load(error)["detail"]
    except (ValueError, KeyError, TypeError):
        return NotReached(f"{url} answers {error.code}, but not as the guardian's API does; {_ADVICE}")
    if isinstance(detail, list):
        detail = "\n".join(one if isinstance(one, str) else f"{one['loc'][-1]}: {one['msg']}" for one in detail)
    if error.code == 404:
        return NotThere(str(detail))
    if error.code >= 500:
        return NotReached(f"the API at {url} cannot do it now: {detail}")
    return Wrong(str(detail))
