from __future__ import annotations

from pathlib import Path

import pytest

from guardian.errors import ConfigError
from streams.alerts.routing import Quiet, Route
from streams.report import check_named
from streams.settings import Settings, load_settings


def problems(tmp_path: Path, text: str) -> str:
    path = tmp_path / "guardian.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_settings(path, {})
    return "\n".join(map(str, raised.value.problems)).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes: [{level: pge}]", "did you mean page?"),
        ("routes: [{level: page, to: [pager]}]", "'pager' is no channel; write one of "),
        ("routes: [{level: page, acton: kill}]", "did you mean action?"),
        ("routes: [{to: [webhook]}]", "level"),
        ("fallback: [mail]", "'mail' is no channel"),
        ("stakeholders: everybody", "'everybody' is no channel"),
        ("stakeholders_after: soon", "'soon' is no duration"),
        ("status_every: 0s", "'0s' is no duration"),
        ("quiet: {from: '25:00', to: '07:00'}", "'25:00' is no time of day; write one like 22:00"),
        ("quiet: {from: '22:00'}", "from and to go together"),
        ("quiet: {from: '22:00', to: '07:00', zone: Mars}", "'Mars' is no time zone known here"),
        ("page_url: 'guardian.example.com'", "alerts.page_url"),
        ("heartbeat: {url: 'ftp://x/s3cr3t'}", "alerts.heartbeat.url"),
        ("heartbeat: {every_s: 0}", "must be above 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(tmp_path, text, said):
    """
    Unknown channels, fields and levels, and what is no time, duration or address, are errors at the start, by line and name.
    """
    shown = problems(tmp_path, f"alerts:\n  {text}\n")

    assert said in shown
    assert "guardian.yaml:2" in shown
    assert f"alerts.{text.partition(':')[0]}" in shown
    assert "s3cr3t" not in shown


def test_routes_and_hours_are_read_as_written(tmp_path):
    """
    One glob or several, one channel or several; times of day with or without quotes, which YAML reads as numbers.
    """
    path = tmp_path / "guardian.yaml"
    path.write_text("""
alerts:
  routes:
    - {action: [kill, kill_flag], environment: "prod*", level: page, to: pagerduty}
  quiet: {from: 22:00, to: 07:30, zone: Europe/Berlin}
  stakeholders_after: 10m
  fallback: webhook
""")
    given = load_settings(path, {}).alerts
    route, quiet = given.routing.routes[0], given.routing.quiet

    assert Route("page", ("pagerduty",), action=("kill", "kill_flag"), environment=("prod*",)) == route
    assert isinstance(quiet, Quiet)
    assert ("22:00:00", "07:30:00", "Europe/Berlin") == (str(quiet.begins), str(quiet.ends), str(quiet.zone))
    assert (600.0, 3600.0) == given.schedule
    assert ("webhook",) == given.fallback


def test_a_channel_that_is_named_needs_settings_of_its_own():
    """
    A route to a channel that has no key or address would tell nobody: that is an error that names both.
    """
    given = Settings.model_validate({"alerts": {"routes": [{"level": "page", "to": ["pagerduty"]}], "fallback": ["webhook"]}})
    with pytest.raises(ConfigError) as raised:
        check_named(given, [])
    shown = str(raised.value)

    assert "alerts.routes[0].to" in shown and "write alerts.pagerduty" in shown
    assert "alerts.fallback" in shown and "write alerts.webhook" in shown
