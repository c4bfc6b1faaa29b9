"""The command line. Each command imports what it needs when it is called: ``guardian --help`` is immediate."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from streams.apps.cli_letters import letters
from streams.apps.cli_people import Config, people
from streams.apps.cli_trust import trust
from streams.apps.simulate_given import Given
from streams.environment import METRICS_VARIABLE, WORKER_VARIABLE

app = typer.Typer(
    name="guardian",
    help="Watches feature rollouts in Kafka and stops a bad variation within a second.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(people)
app.add_typer(letters)
app.add_typer(trust)

_GIVEN = Given()


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
    # Unique, so that two installations never share a member of a consumer group.
    os.environ.setdefault(WORKER_VARIABLE, f"{os.uname().nodename}-{os.getpid()}-{time.time_ns():x}")
    try:
        from streams.forking import warm_up

        warm_up()
        from streams.apps.run import main

        code = main(config, only, embedded=embedded)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    raise typer.Exit(code)


@app.command()
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or directories of policies; none: those that the settings name.")
    ] = None,
    traffic: Annotated[
        str, typer.Option(help=f"Requests of the flag, for the notes on chances; {_GIVEN.traffic} where not given.")
    ] = "",
    rate: Annotated[str, typer.Option(help=f"Control's error rate, likewise; {_GIVEN.rate} where not given.")] = "",
    default: Annotated[Path | None, typer.Option(help="The policy for flags that have none.")] = None,
    config: Config = None,
) -> None:
    """Check policies; exit with 1 if there is any problem."""
    from streams.apps.check import check as lint
    from streams.apps.check import check_settings

    if paths or default is not None:
        if config is not None and default is None:
            raise typer.Exit(check_settings(config, paths, traffic=traffic, rate=rate, out=sys.stdout))
        raise typer.Exit(lint(paths or [], traffic=traffic, rate=rate, out=sys.stdout, default=default))
    raise typer.Exit(check_settings(config, traffic=traffic, rate=rate, out=sys.stdout))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: ok, and findings with level, about, found, cure.")] = False,
    only: Annotated[str, typer.Option(help="Whose rights in Kafka, comma-separated: observe, judge, act, …")] = "",
    config: Config = None,
) -> None:
    """Look whether Kafka, flag stores, channels and clocks are as they must be; changes nothing; exit with 1 for errors."""
    from streams.apps.doctor.told import main

    raise typer.Exit(main(config, only, sys.stdout, as_json=as_json))


@app.command()
def init(
    flag: Annotated[str, typer.Option(help="The flag's key.")],
    risk: Annotated[str, typer.Option(help="low, medium or high: how bad it is if it breaks.")] = "medium",
    environment: Annotated[str, typer.Option(help="Where the flag lives.")] = "production",
    owner: Annotated[str, typer.Option(help="Who is paged.")] = "",
) -> None:
    """Write a policy to begin with: guardian init --risk medium --flag NAME > config/policies/NAME.yaml."""
    from streams.apps.init import init as write

    raise typer.Exit(write(risk, flag, sys.stdout, sys.stderr, environment=environment, owner=owner))


@app.command()
def replay(
    files: Annotated[
        list[str] | None, typer.Argument(help="JSON lines, CloudEvents or bare; .gz is unpacked, - is standard input.")
    ] = None,
    policies: Annotated[
        list[Path] | None, typer.Option("--policies", "-p", help="Files or directories of policies.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Compare with these policies over the same events: kills gained and lost.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One decision a line as JSON; with --against, the table.")] = False,
    fail_on: Annotated[
        str, typer.Option(help="Exit with 3 if this action was decided, such as kill; with --against: gained, or lost.")
    ] = "",
    topic: Annotated[list[str] | None, typer.Option(help="Read this topic instead of files; may be repeated.")] = None,
    from_: Annotated[str, typer.Option("--from", help="With --topic: RFC 3339 or epoch milliseconds.")] = "0",
    to: Annotated[str, typer.Option("--to", help="With --topic: likewise; default is the end.")] = "",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Lines read at once; the answer does not depend on it.")
    ] = 2000,
    config: Config = None,
) -> None:
    """Judge recorded events by the same engine: what would the guardian have decided, and when."""
    from streams.apps.replay import main
    from streams.apps.replay_topics import recorded

    if bool(files) == bool(topic):
        raise typer.BadParameter("give files to replay, or --topic, one of the two")
    if not policies:
        raise typer.BadParameter("--policies PATH is missing: what should the events be judged by?")
    events = recorded(config, topic, from_, to) if topic else None
    if against:
        from streams.apps.compare import main as compare

        raise typer.Exit(compare(files or [], policies, against, as_json=as_json, fail_on=fail_on, recorded=events))
    code = main(files or [], policies, as_json=as_json, fail_on=fail_on, batch_lines=batch_size, recorded=events)
    raise typer.Exit(code)


@app.command()
def simulate(
    policies: Annotated[list[Path], typer.Option("--policies", "-p", help="Files or directories of policies.")],
    traffic: Annotated[str, typer.Option(help="Requests of the flag; each is taken for another user.")] = _GIVEN.traffic,
    share: Annotated[str, typer.Option(help="One share such as 10% for good, instead of the policy's stages.")] = _GIVEN.share,
    rate: Annotated[str, typer.Option(help="Control's error rate.")] = _GIVEN.rate,
    rated: Annotated[str, typer.Option(help="The part of the requests that is rated: csat, nps, thumbs.")] = _GIVEN.rated,
    csat: Annotated[float, typer.Option(help="Control's mean rating, from 1 to 5.")] = _GIVEN.csat,
    nps: Annotated[str, typer.Option(help="Control's detractors/passives/promoters, in percent.")] = _GIVEN.nps,
    thumbs_down: Annotated[str, typer.Option(help="Of control's thumbs, those that point down.")] = _GIVEN.thumbs_down,
    reports: Annotated[str, typer.Option(help="Of control's starts, those that are reported.")] = _GIVEN.reports,
    measure: Annotated[str, typer.Option(help="Control's mean of a measure, as a part of its range.")] = _GIVEN.measure,
    spread: Annotated[str, typer.Option(help="Its standard deviation, likewise; 50% is all or nothing.")] = _GIVEN.spread,
    narrowed: Annotated[str, typer.Option(help="The part of the outcomes that a narrowed signal is about.")] = _GIVEN.narrowed,
    flag: Annotated[str, typer.Option(help="Only the policies of this flag.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.")] = _GIVEN.seed,
    runs: Annotated[int | None, typer.Option(help="Runs of each effect.", show_default="300, fewer with more guardrails")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The forecast as JSON (guardian.forecast.Forecast).")] = False,
    chart: Annotated[Path | None, typer.Option(help="Write a chart into this file, as SVG.")] = None,
) -> None:
    """Forecast what policies would do: how soon harm is found, who sees it until then, how many false kills."""
    from streams.apps.simulate import main

    given = Given(
        traffic, share, rate, seed, runs, rated, csat, nps, thumbs_down, reports, measure, spread, narrowed
    )  # fmt: skip
    raise typer.Exit(main(policies, given, flag=flag, as_json=as_json, chart=chart))


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
