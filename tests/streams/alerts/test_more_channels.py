"""Opsgenie, Grafana and Apprise: what each does beside what all channels promise."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from streams.alerts.apprise import Apprise
from streams.alerts.base import Link, Refused, Unreachable
from streams.alerts.grafana import Grafana
from streams.alerts.opsgenie import Opsgenie
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.alerts.api import serving
from tests.support.alerts.grafana import TOKEN, GrafanaApi
from tests.support.alerts.opsgenie import KEY, OpsgenieApi
from tests.support.alerts.plain import AppriseApi

ALIAS = "guardian:production:checkout-v2:treatment"


async def test_opsgenie_counts_what_joins_and_notes_what_is_said(session):
    """
    News count the same alert and are its notes, as are a status and the end; priority is P2 for a kill that worked.
    """
    api = OpsgenieApi()
    async with serving(api):
        channel = Opsgenie(session, api_key=KEY, url=f"{api.url}/v2/alerts")
        first = replace(decided(), title="Killed", links=(Link("Undo", "https://g.example.com/undo"),))
        news = answered("not_effective")
        for notice in (first, news, replace(first, kind="status", level="chat", text="still open")):
            await channel.notify(notice)
        (alert,) = api.open.values()
        await channel.notify(replace(resolved(first), text="over"))

    assert (ALIAS, "Killed", "P2", 2) == (alert["alias"], alert["message"], alert["priority"], alert["count"])
    assert {"owner": "team-checkout", "Undo": "https://g.example.com/undo"}.items() <= alert["details"].items()
    assert [first.text, news.text, "still open", "over"] == alert["notes"]
    assert ({}, [ALIAS]) == (api.open, [one["alias"] for one in api.closed])


async def test_opsgenie_wakes_for_what_did_not_work(session):
    """
    A kill that did not help is P1, what wakes nobody P4.
    """
    api = OpsgenieApi()
    async with serving(api):
        channel = Opsgenie(session, api_key=KEY, url=f"{api.url}/v2/alerts")
        await channel.notify(answered("not_effective"))
        await channel.notify(replace(decided(flag="new-cart"), level="chat"))

    assert ["P1", "P4"] == [alert["priority"] for alert in api.open.values()]


async def test_opsgenie_says_what_a_wrong_key_is(session):
    """
    A key that Opsgenie does not know is a refusal that names the setting and shows no key.
    """
    api = OpsgenieApi()
    async with serving(api):
        with pytest.raises(Refused, match=r"HTTP 401 .*Could not authenticate.*alerts\.opsgenie\.api_key") as failed:
            await Opsgenie(session, api_key="old-key", url=f"{api.url}/v2/alerts").notify(decided())

    assert "old-key" not in str(failed.value)


async def test_grafana_marks_an_incident_from_its_begin_to_its_end(session):
    """
    One annotation has the newest words and lasts from when the incident began until it is over; what belongs to none is
    a mark of its own.
    """
    api, first = GrafanaApi(), replace(decided(), title="Killed", opened_at="2026-11-26T10:00:00.000Z")
    over = replace(resolved(first), at="2026-11-26T11:00:00.000Z", title="Over <b>now</b>", text="ada resumed it")
    async with serving(api):
        channel = Grafana(session, url=f"{api.url}/grafana", token=TOKEN)
        for notice in (first, first, over, replace(decided(action="pause"), incident="", level="chat")):
            await channel.notify(notice)
    region, mark = api.annotations.values()

    assert 3_600_000 == region["timeEnd"] - region["time"]
    assert "<b>Over &lt;b&gt;now&lt;/b&gt;</b>\nada resumed it" == region["text"]
    assert {"rollout-guardian", "kill", "production", "checkout-v2", "treatment", "team-checkout"} <= set(region["tags"])
    assert "pause" in mark["tags"]


@pytest.mark.parametrize(
    ("path", "token", "said"), [("grafana", "old", r"HTTP 401 .*token"), ("", TOKEN, r"HTTP 404 .*without /api")]
)
async def test_grafana_says_what_is_wrong(session, path, token, said):
    """
    A token that is over, or another address than Grafana's, is a refusal that names the setting.
    """
    api = GrafanaApi()
    async with serving(api):
        with pytest.raises(Refused, match=said):
            await Grafana(session, url=f"{api.url}/{path}", token=token).notify(decided())


async def test_who_has_taken_it_is_not_told_again_by_apprise():
    """
    When one service fails, another try tells that one alone; the failing one is named by its number, not its address.
    """
    well, ill = AppriseApi(), AppriseApi()
    async with serving(well), serving(ill):
        ill.fail(500)
        channel = Apprise(urls=[api.url.replace("http://", "json://me:s3cr3t@") for api in (well, ill)])
        with pytest.raises(Unreachable, match=r"number 2 of alerts\.apprise\.urls"):
            await channel.notify(decided())
        await channel.notify(decided())

    assert (1, 1) == (len(well.calls), len(ill.calls))


async def test_apprise_logs_nothing(caplog):
    """
    Apprise's own log, which quotes addresses, says nothing, however much is asked for.
    """
    caplog.set_level("DEBUG")
    api = AppriseApi()
    async with serving(api):
        api.fail(500)
        with pytest.raises(Unreachable):
            await Apprise(urls=[api.url.replace("http://", "json://me:s3cr3t@")]).notify(decided())

    assert [] == [record.getMessage() for record in caplog.records if record.name.startswith("apprise")]


def test_an_address_that_apprise_does_not_know_is_refused_at_the_start():
    """
    An address of no service is an error at the start that counts it and does not show it.
    """
    with pytest.raises(ValueError, match=r"alerts\.apprise\.urls: .*number 2") as failed:
        Apprise(urls=["json://localhost", "n0service://s3cr3t"])

    assert "s3cr3t" not in str(failed.value)


def test_without_apprise_the_extra_is_named(monkeypatch):
    """
    Where Apprise is not installed, the error at the start says how to install it.
    """
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ValueError, match=r"pip install 'rollout-guardian\[apprise\]'"):
        Apprise(urls=["json://localhost"])
