"""The command line. Each command imports what it needs when it is called: ``guardian --help`` is immediate."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from streams.environment import METRICS_VARIABLE

app = typer.Typer(
    name="guardian",
    help="Watches feature rollouts in Kafka and stops a bad variation within a second.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The settings; default config/guardian.yaml, if it is there.")
]


@app.command()
def run(
    config: Config = None,
    only: Annotated[str, typer.Option(help="Comma-separated: store, observe, judge, act, report, api.")] = "",
    embedded: Annotated[bool, typer.Option(help="Start a broker in memory, for one machine without Kafka.")] = False,
) -> None:
    """Run all processors, each as a process of its own, until SIGTERM or Ctrl-C."""
    # Read by prometheus_client when it is imported, here and in every child.
    made = None if METRICS_VARIABLE in os.environ else tempfile.mkdtemp(prefix="guardian-metrics-")
    if made:
        os.environ[METRICS_VARIABLE] = made
    try:
        from streams.apps.run import main

        code = main(config, only, embedded=embedded)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    raise typer.Exit(code)


@app.command()
def check(paths: Annotated[list[Path], typer.Argument(help="Files or directories of policies.")]) -> None:
    """Check policies; exit with 1 if there is any problem."""
    from streams.apps.check import check as lint

    raise typer.Exit(lint(paths, out=sys.stdout))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def replay(context: typer.Context) -> None:
    """Judge recorded events: guardian replay FILE… --policies PATH [--json]; see --help after it."""
    from streams.apps.replay import main

    raise typer.Exit(main(context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def broker(context: typer.Context) -> None:
    """Run the embedded broker alone, until SIGTERM or Ctrl-C."""
    from streams.broker.__main__ import main

    raise typer.Exit(main(context.args))


def main() -> None:
    """Entry point of the ``guardian`` command."""
    app()


if __name__ == "__main__":
    main()
