"""The commands about what could not be read; they ask Kafka itself."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from streams.apps.cli_people import AsJson, Config

letters = typer.Typer(name="dead-letters", help="What could not be read: list it, show it, send it again.", no_args_is_help=True)

Topic = Annotated[str, typer.Option(help="Only those that came from this topic.")]
Why = Annotated[str, typer.Option("--reason", help="Only those whose reason holds this text.")]
Place = Annotated[str, typer.Argument(metavar="PLACE", help="partition/offset, as `list` shows it.")]
SHOWN = 20


@letters.command("list")
def list_them(
    topic: Topic = "",
    reason: Why = "",
    most: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = SHOWN,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show a line a dead letter, and how often each reason is given."""
    from streams.apps.client import answered
    from streams.apps.letters import asked_for
    from streams.apps.letters_told import list_letters
    from streams.settings import load_settings

    def work() -> int:
        return list_letters(load_settings(config), asked_for(topic, reason), most, sys.stdout, as_json=as_json)

    raise typer.Exit(answered(work, sys.stderr))


@letters.command()
def show(place: Place, as_json: AsJson = False, config: Config = None) -> None:
    """Show one whole: where it came from, why it could not be read, and its bytes."""
    from streams.apps.client import answered
    from streams.apps.letters_told import show_letter
    from streams.settings import load_settings

    raise typer.Exit(answered(lambda: show_letter(load_settings(config), place, sys.stdout, as_json=as_json), sys.stderr))


@letters.command()
def resubmit(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE...", help="partition/offset, as `list` shows it.")] = None,
    topic: Topic = "",
    reason: Why = "",
    every: Annotated[bool, typer.Option("--all", help="All that --topic and --reason choose.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Send dead letters again to where they came from, as they were."""
    from streams.apps.client import answered
    from streams.apps.letters import asked_for
    from streams.apps.letters_told import resubmit_letters
    from streams.settings import load_settings

    if bool(places) == every:
        raise typer.BadParameter("name the places of letters, or --all with --topic or --reason")

    def work() -> int:
        asked = asked_for(topic, reason) if every else None
        settings = load_settings(config)
        return resubmit_letters(settings, places or [], asked, sys.stdout, agreed=lambda said: yes or typer.confirm(said))

    raise typer.Exit(answered(work, sys.stderr))
