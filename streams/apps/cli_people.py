"""The commands for people on call: what stands, why, and a hand on the switch. They ask the API, and nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The settings; default config/guardian.yaml, if it is there.")
]
Url = Annotated[str, typer.Option("--api", help="The API's address; default: api.* of the settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, as the API says it.")]
Key = Annotated[str, typer.Argument(help="environment|flag, in quotes; the flag alone where it is in one environment.")]
One = Annotated[str, typer.Argument(help="Of this rollout alone: environment|flag, or the flag.")]
Variation = Annotated[str, typer.Argument(help="Needed where a rollout has several.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; asked for at a terminal.")]
By = Annotated[str, typer.Option(help="Who wants it.", show_default="$USER")]
Wait = Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the flag store's answer.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return once it stands in the journal.")]
WAIT_S = 5.0

people = typer.Typer()


@people.command()
def status(key: One = "", as_json: AsJson = False, api: Url = "", config: Config = None) -> None:
    """Show a line a rollout, or with KEY all of one."""
    from streams.apps.client import answered, client
    from streams.apps.doctor.running import drift_here
    from streams.apps.status import status as show

    def work() -> int:
        # Of an API elsewhere it is not known where its guardian says how it is.
        here = {} if api else {"drift": lambda: drift_here(config)}
        return show(client(config, api), key, sys.stdout, as_json=as_json, **here)

    raise typer.Exit(answered(work, sys.stderr))


@people.command()
def watch(
    key: One = "",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one look to the next.")] = 1.0,
    api: Url = "",
    config: Config = None,
) -> None:
    """Show the status until Ctrl-C; where the output is no terminal, a line for each change."""
    from streams.apps.client import answered, client
    from streams.apps.status import watch as show

    with contextlib.suppress(KeyboardInterrupt):
        raise typer.Exit(answered(lambda: show(client(config, api), key, sys.stdout, every_s=every), sys.stderr))


@people.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="A decision's id, or a rollout: why has nothing happened?")],
    is_long: Annotated[bool, typer.Option("--long", help="A paragraph instead of a sentence.")] = False,
    as_json: AsJson = False,
    api: Url = "",
    config: Config = None,
) -> None:
    """Say in one sentence what was decided and why, or why nothing has happened."""
    from streams.apps.client import answered, client
    from streams.apps.told import explain as tell

    def work() -> int:
        return tell(client(config, api), name, sys.stdout, as_json=as_json, is_long=is_long)

    raise typer.Exit(answered(work, sys.stderr))


@people.command()
def kill(
    key: Key, variation: Variation = "", reason: Reason = "", by: By = "", wait: Wait = WAIT_S, no_wait: NoWait = False,
    as_json: AsJson = False, api: Url = "", config: Config = None,
) -> None:  # fmt: skip
    """Take a variation away from all users, now."""
    _wish("kill", key, variation, "", reason, by, 0.0 if no_wait else wait, as_json, api, config)


@people.command()
def pause(
    key: Key, variation: Variation = "", reason: Reason = "", by: By = "", wait: Wait = WAIT_S, no_wait: NoWait = False,
    as_json: AsJson = False, api: Url = "", config: Config = None,
) -> None:  # fmt: skip
    """Take no further stage until it is resumed."""
    _wish("pause", key, variation, "", reason, by, 0.0 if no_wait else wait, as_json, api, config)


@people.command()
def resume(
    key: Key, variation: Variation = "", reason: Reason = "", by: By = "", wait: Wait = WAIT_S, no_wait: NoWait = False,
    as_json: AsJson = False, api: Url = "", config: Config = None,
) -> None:  # fmt: skip
    """Go on after a kill or a pause, with fresh evidence."""
    _wish("resume", key, variation, "", reason, by, 0.0 if no_wait else wait, as_json, api, config)


@people.command()
def changed(
    key: Key, variation: Variation = "", reason: Reason = "", by: By = "", as_json: AsJson = False, api: Url = "",
    config: Config = None,
) -> None:  # fmt: skip
    """Tell of a change from outside, such as a build: harm that follows is found sooner."""
    _wish("changed", key, variation, "", reason, by, 0.0, as_json, api, config)


@people.command()
def approve(
    key: Key,
    group: Annotated[str, typer.Option(help="The group that agrees, as the policy names it.")],
    reason: Reason = "",
    by: By = "",
    as_json: AsJson = False,
    api: Url = "",
    config: Config = None,
) -> None:
    """Agree, for a group, that the rollout takes its next stage."""
    _wish("approve", key, "", group, reason, by, 0.0, as_json, api, config)


@people.command()
def apply(
    policies: Annotated[list[Path], typer.Argument(help="Files or directories of policies.")],
    by: By = "",
    as_json: AsJson = False,
    api: Url = "",
    config: Config = None,
) -> None:
    """Send policies to a guardian that runs elsewhere: all are checked first, then they are in force."""
    from streams.apps.apply import apply as send
    from streams.apps.client import answered, client

    def work() -> int:
        return send(client(config, api), policies, by or os.environ.get("USER", ""), sys.stdout, as_json=as_json)

    raise typer.Exit(answered(work, sys.stderr))


def _wish(
    action: str, key: str, variation: str, group: str, reason: str, by: str, wait_s: float, as_json: bool, api: str,
    config: Path | None,
) -> None:  # fmt: skip
    from streams.apps.client import answered, client
    from streams.apps.wish import Wish, send

    if not reason and sys.stdin.isatty():
        reason = typer.prompt("Reason")
    wish = Wish(action, key, by or os.environ.get("USER", ""), reason, variation, group)

    def work() -> int:
        return send(client(config, api), wish, sys.stdout, wait_s=wait_s, as_json=as_json)

    raise typer.Exit(answered(work, sys.stderr))
