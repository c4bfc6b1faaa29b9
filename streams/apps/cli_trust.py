"""The commands about who has written what: keys, and whether the topics hold together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streams.apps.cli_people import Config

trust = typer.Typer()
keys = typer.Typer(name="keys", help="The keys that decisions and receipts are signed with.", no_args_is_help=True)
trust.add_typer(keys)


@trust.command()
def verify(
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Judge the whole journal again, under the settings of now, and compare.")
    ] = False,
    config: Config = None,
) -> None:
    """Check the topics from evidence to decision to receipt; exit with 1 and the first broken link, if there is one."""
    from streams.apps.client import answered
    from streams.apps.verify import verify as check
    from streams.settings import load_settings

    raise typer.Exit(answered(lambda: check(load_settings(config), sys.stdout, recompute=recompute), sys.stderr))


@trust.command()
def acls(
    only: Annotated[str, typer.Option(help="Comma-separated: store, observe, judge, act, report, api.")] = "",
    config: Config = None,
) -> None:
    """Print what each processor may do in Kafka, as lines for kafka-acls; nothing else is needed."""
    from streams.apps.client import answered
    from streams.apps.run import processors
    from streams.rights import commands
    from streams.settings import load_settings

    def work() -> int:
        settings = load_settings(config)
        for line in commands(settings, processors(only, settings), settings.kafka.bootstrap):
            typer.echo(line)
        return 0

    raise typer.Exit(answered(work, sys.stderr))


@keys.command()
def new(file: Annotated[Path, typer.Argument(help="Where to put the private key; the public one gets .pub at its end.")]) -> None:
    """Make a key: FILE is for the guardian alone, FILE.pub for whoever checks."""
    from streams.apps.client import answered
    from streams.apps.made_keys import new as make

    raise typer.Exit(answered(lambda: make(file, sys.stdout), sys.stderr))


@keys.command()
def show(file: Annotated[Path, typer.Argument(help="A private or a public key.")]) -> None:
    """Print the id of a key, as it stands in what it has signed."""
    from streams.apps.client import answered
    from streams.apps.made_keys import show as tell

    raise typer.Exit(answered(lambda: tell(file, sys.stdout), sys.stderr))
