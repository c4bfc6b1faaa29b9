"""What goes over the wire to a webhook store and back, and what can be wrong with it: docs/stores.md describes it."""

from __future__ import annotations

import msgspec

from guardian.ports import FlagCommand
from streams.stores.shares.flag import Change, Kept, Malformed, Seen, Shares, seen


class Answer(msgspec.Struct, frozen=True):
    """A flag as the store serves it: the body of its answer."""

    flag: str
    environment: str
    shares: Shares
    enabled: bool = True
    rings: dict[str, Shares] = {}
    changed_by: str = ""
    guardian: Kept | None = None


def read_answer(body: bytes, etag: str | None, environment: str, flag_key: str) -> Seen:
    """
    The flag that an answer holds.

    Raises:
        Malformed: it does not hold one.
    """
    if not etag or etag.startswith("W/") or len(etag) < 3 or etag[0] != '"' or etag[-1] != '"':
        raise Malformed(f'ETag: {etag!r}: answer a strong one, such as "7", that changes with every change of the flag')
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error) or "it is nested too deeply") from None
    if (answer.environment, answer.flag) != (environment, flag_key):
        raise Malformed(
            f"flag {answer.flag!r} in {answer.environment!r}: asked for was {flag_key!r} in {environment!r}; is a cache between?"
        )
    return seen(
        environment,
        flag_key,
        etag=etag,
        shares=answer.shares,
        kept=answer.guardian,
        enabled=answer.enabled,
        rings=answer.rings,
        changed_by=answer.changed_by,
    )


def body_of(change: Change, command: FlagCommand, etag: str) -> bytes:
    """A change as it is sent, with what led to it; *etag* is of the flag that it was made from."""
    return msgspec.json.encode(
        {
            "flag": command.flag_key,
            "environment": command.environment,
            "if_match": etag,
            "shares": change.shares,
            "rings": change.rings,
            "guardian": change.kept,
            "change": {
                "command_id": command.command_id,
                "decision_id": command.decision_id,
                "order": command.order,
                "kind": command.kind,
                "variation": command.variation,
                "control": command.control,
                "share": command.share,
                "rings": dict(command.rings),
            },
        }
    )
