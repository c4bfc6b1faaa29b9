"""Alertmanager: what the real one makes of the alerts, and several replicas of which some are away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from guardian.decisions import REFUSAL_TYPE, Refusal
from streams.alerts.alertmanager import Alertmanager
from streams.alerts.base import Link, Refused, Report, Unreachable
from streams.alerts.memory import ShortMemory
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.alerts.alertmanager import TOKEN, AlertsApi
from tests.support.alerts.api import serving
from tests.support.alerts.real import real_alertmanager
from tests.support.page import until

AWAY = "http://127.0.0.1:9"


def later(first: Report, kind: str, **more: object) -> Report:
    return replace(first, kind=kind, level="chat", urgent=False, notice_id=f"{kind}:{first.incident}", **more)  # type: ignore[arg-type]


@pytest.mark.alertmanager
async def test_the_real_one_opens_updates_and_resolves_one_alert(session, tmp_path):
    """
    A page is one alert, told at once; news and status change its words and nothing else; the end resolves it.
    """
    async with real_alertmanager(tmp_path, session) as real:
        channel = Alertmanager(session, ShortMemory(), urls=[real.url])
        first = replace(decided(), links=(Link("The decision", "https://guardian.example.com/d/17"),))
        await channel.notify(first)
        await until(lambda: real.people.told, "people are told")
        (alert,) = real.people.told[0]["alerts"]

        news = replace(answered("not_effective"), incident=first.incident, opened_at=first.opened_at, owner="")
        await channel.notify(news)
        await channel.notify(later(first, "status", text="It is still open."))
        (known,) = await real.alerts(filter='flag_key="checkout-v2"')

        await channel.notify(resolved(first))
        await until(lambda: "resolved" in real.people.states, "people are told that it is over")
        left = await real.alerts()

    assert ("firing", "FlagVariationHarm", first.text) == (
        alert["status"], alert["labels"]["alertname"], alert["annotations"]["description"],
    )  # fmt: skip
    assert "https://guardian.example.com/d/17" == alert["generatorURL"] == alert["annotations"]["the_decision"]
    assert "It is still open." == known["annotations"]["description"]
    assert alert["fingerprint"] == known["fingerprint"]
    assert ["firing", "resolved"] == real.people.states
    assert [] == left


@pytest.mark.alertmanager
async def test_the_real_one_keeps_silent_what_people_silenced(session, tmp_path):
    """
    An alert that a person silenced by its labels stays silent whatever comes next; another variation does not.
    """
    async with real_alertmanager(tmp_path, session) as real:
        await real.silence(flag_key="checkout-v2", environment="production")
        channel = Alertmanager(session, ShortMemory(), urls=[real.url])
        await channel.notify(decided())
        await channel.notify(replace(answered("failed"), owner="team-checkout"))
        await channel.notify(decided(flag="new-cart"))
        await until(lambda: real.people.told, "people are told of the other")
        states = {one["labels"]["flag_key"]: one["status"]["state"] for one in await real.alerts()}

    assert {"checkout-v2": "suppressed", "new-cart": "active"} == states
    assert ["new-cart"] == [alert["labels"]["flag_key"] for one in real.people.told for alert in one["alerts"]]


@pytest.mark.alertmanager
async def test_the_real_one_hears_the_end_after_it_was_started_anew(session, tmp_path):
    """
    Alertmanager forgets alerts when it is started anew: the next status brings one back, and its end is told.
    """
    async with real_alertmanager(tmp_path, session) as real:
        channel, first = Alertmanager(session, ShortMemory(), urls=[real.url]), decided()
        await channel.notify(first)
        await until(lambda: real.people.told, "people are told")
        real.stop()
        with pytest.raises(Unreachable):
            await channel.notify(later(first, "status"))
        await real.start()
        gone = await real.alerts()
        await channel.notify(later(first, "status"))
        back = await real.alerts()
        await channel.notify(resolved(first))
        await until(lambda: "resolved" in real.people.states, "people are told that it is over")

    assert ([], 1) == (gone, len(back))
    assert ["firing", "resolved"] == real.people.states


@pytest.mark.alertmanager
async def test_the_real_one_takes_any_name(session, tmp_path):
    """
    Names and words of any letters are labels and annotations that the real one takes.
    """
    async with real_alertmanager(tmp_path, session) as real:
        channel = Alertmanager(session, ShortMemory(), urls=[real.url])
        for flag in ("ключ 🙈", 'a"b\\c\n{x="y"}', "x" * 5_000):
            notice = replace(decided(flag=flag), title="\ud83d half", body="z" * 50_000, links=(Link("Wärum? 1", "https://x.example"),))
            await channel.notify(notice)
        refusal = Refusal(topic="guardian.decisions.v1", partition=0, offset=7, reason="not signed")
        await channel.notify(
            replace(decided(), type=REFUSAL_TYPE, data=refusal, flag_key="", environment="", variation=refusal.topic)
        )

        assert 4 == len(await real.alerts())


async def test_all_replicas_are_told(session):
    """
    Each replica gets the alert, at its own path; one that is away keeps the others from nothing.
    """
    one, two = AlertsApi(), AlertsApi()
    async with serving(one), serving(two):
        urls = [f"{one.url}/am/", AWAY, f"{two.url}/am"]
        await Alertmanager(session, ShortMemory(), urls=urls, token=TOKEN).notify(decided())

        assert (1, 1) == (len(one.open), len(two.open))


async def test_the_end_must_reach_every_replica(session):
    """
    While a replica that could still hold the alert is away, its end is told again; all of them away is a failure always.
    """
    api, memory = AlertsApi(), ShortMemory()
    async with serving(api):
        some = Alertmanager(session, memory, urls=[AWAY, f"{api.url}/am"], token=TOKEN)
        await some.notify(decided())
        with pytest.raises(Unreachable):
            await some.notify(resolved(decided()))
        with pytest.raises(Unreachable):
            await Alertmanager(session, memory, urls=[AWAY, AWAY]).notify(decided())
        with pytest.raises(Refused, match=r"HTTP 401 .*see alerts\.alertmanager\.token"):
            await Alertmanager(session, memory, urls=[f"{api.url}/am"], token="old").notify(decided())

    assert [] == api.open


async def test_labels_never_change_while_an_incident_is_open(session):
    """
    What is learnt later, or not known after a crash, changes no label, so that the same alert is ended that was begun.
    """
    api, memory, first = AlertsApi(), ShortMemory(), decided()
    async with serving(api):
        for notice in (first, replace(first, owner="", level="chat", kind="status"), replace(resolved(first), owner="team-b")):
            await Alertmanager(session, memory, urls=[f"{api.url}/am"], token=TOKEN).notify(notice)

    (labels,) = api.alerts
    assert {"alertname", "environment", "flag_key", "owner", "severity", "variant"} == dict(labels).keys()
    assert not any(number in json.dumps(labels) for number in ("312", "decision"))
