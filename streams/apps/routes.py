"""The API's addresses: rollouts, decisions, the stream of events, and what people want."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from starlette.responses import StreamingResponse

from guardian.errors import ProblemsError
from streams.apps.board import Board, DecisionNow, PropagationNow, RolloutNow
from streams.apps.feed import Feed
from streams.apps.history import Lines
from streams.apps.live import Hub
from streams.apps.overrides import Line, OverrideTaken, OverrideWish, Writer, WrongWish, write_override
from streams.apps.policy_files import PolicyFiles
from streams.apps.sent_policies import PolicyTaken, read_sent, write_sent
from streams.outlet import NotDelivered

router = APIRouter(prefix="/api")


@dataclass(slots=True)
class Served:
    """What the addresses need; *outlet* is there once Kafka is."""

    board: Board
    hub: Hub
    feed: Feed
    journal: str
    policies: PolicyFiles
    outlet: Writer | None = None


def served(request: Request) -> Served:
    """Return what the application serves."""
    found: Served = request.app.state.served
    return found


Given = Annotated[Served, Depends(served)]


@router.get("/rollouts")
async def rollouts(given: Given) -> list[RolloutNow]:
    """All rollouts as they are now, by key."""
    return given.board.rollouts()


# Keys hold a "|", and flags may hold a "/": what follows a key must be told apart before the key alone.
@router.get("/rollouts/{key:path}/history")
async def history(key: str, given: Given) -> Lines:
    """How a rollout came to be as it is: error rates and evidence of the last minutes."""
    _known(given, key)
    return given.board.history(key).lines()


@router.get("/rollouts/{key:path}")
async def rollout(key: str, given: Given) -> RolloutNow:
    """One rollout as it is now."""
    return _known(given, key)


@router.post("/rollouts/{key:path}/override", status_code=202)
async def override(key: str, wish: OverrideWish, request: Request, given: Given) -> OverrideTaken:
    """
    Kill, pause, resume or approve: written into the journal, decided by judge within moments.

    While the page is still reading what was published, a rollout that it does not know is taken on trust: a
    kill may not wait for it.
    """
    _same_site(request)
    known = given.board.rollout(key)
    if known is None and given.feed.caught_up:
        raise HTTPException(404, f"no rollout {key!r}; keys are written environment|flag")
    try:
        return await write_override(wish, key, known, _outlet(given), given.journal)
    except WrongWish as error:
        raise HTTPException(422, str(error)) from None
    except NotDelivered as error:
        raise HTTPException(503, f"Kafka did not take it, send it again: {error}") from None


@router.get("/decisions")
async def decisions(given: Given, limit: Annotated[int, Query(ge=1, le=500)] = 50, key: str = "") -> list[DecisionNow]:
    """The newest decisions with what became of them, newest first; of one rollout where *key* names it."""
    return given.board.decisions(limit, key)


@router.get("/decisions/{decision_id:path}")
async def decision(decision_id: str, given: Given) -> DecisionNow:
    """One decision with what became of it."""
    found = given.board.decision(decision_id)
    if found is None:
        raise HTTPException(404, f"no decision {decision_id!r} among the newest; older ones are in Kafka")
    return found


@router.get("/propagation")
async def propagation(given: Given) -> list[PropagationNow]:
    """How long the last kills took to reach the last client: of each store, and of each service (``service``) where known."""
    return given.board.propagation()


@router.get("/feed")
async def feed(given: Given) -> dict[str, bool | str]:
    """Whether what the page shows is now, and if not, why."""
    return given.feed.state()


@router.get("/policies")
def policies(given: Given) -> dict[str, bool | list[str]]:
    """
    Whether the policy files can be used as they are now, and what is wrong with them, by file and line.

    What is wrong is not in force: ``guardian run`` refuses it, and the policy of before stays.
    """
    given.policies.look()
    problems = given.policies.problems
    return {"ok": not problems, "problems": problems}


@router.post("/policies", status_code=202)
async def send_policies(
    request: Request, given: Given, by: Annotated[str, Line, Query(max_length=200, description="Who sends them")]
) -> list[PolicyTaken]:
    """
    Policies as the body, YAML or JSON, written as in a file: new rollouts, or other terms for those that there are.

    All of them or none: with any problem, 422 and every problem. A rollout whose policy is in a file is refused.
    """
    _same_site(request)
    outlet = _outlet(given)
    given.policies.look()
    try:
        # In a thread: what is wrong with a large document may take a while to say, and others are asking.
        found = await asyncio.to_thread(read_sent, await request.body(), given.policies.files)
        return await write_sent(found, by, outlet, given.journal)
    except ProblemsError as error:
        raise HTTPException(422, [str(problem) for problem in error.problems]) from None
    except NotDelivered as error:
        raise HTTPException(503, f"Kafka did not take all, send them again: {error}") from None


@router.get("/events", response_class=StreamingResponse)
async def events(given: Given, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
    """
    Server-sent events ``rollout``, ``decision``, ``receipt``, ``gone``, ``feed``; ``resync``: read all anew.

    After a break, ``Last-Event-ID`` brings what was missed, where that is still known.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(given.hub.stream(last_event_id), media_type="text/event-stream", headers=headers)


def _outlet(given: Served) -> Writer:
    if given.outlet is None:
        raise HTTPException(503, "Kafka is not reached yet; send it again")
    return given.outlet


def _known(given: Served, key: str) -> RolloutNow:
    found = given.board.rollout(key)
    if found is None:
        why = "" if given.feed.caught_up else ", as far as was read until now"
        raise HTTPException(404, f"no rollout {key!r}{why}; keys are written environment|flag")
    return found


def _same_site(request: Request) -> None:
    """Refuse what another site's page sends in a person's name."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, f"sent by a page of {origin}")
