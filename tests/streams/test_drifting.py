"""Act looks again and again whether the stores that keep one flag serve the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from guardian.ports import StoreUnavailable
from streams.act import run_act
from streams.drifting import Drifting
from streams.settings import Settings
from streams.status import Status
from streams.stores.targets import Targets
from streams.wiring import open_flag_store
from tests.streams.stores.test_targets import command, shelf, target
from tests.streams.test_act_crashes import receipts_in, topics_of
from tests.support.cluster import Cluster
from tests.support.movers import decision, until
from tests.support.processes import Killable
from tests.support.receiver import SECRET, receiving

FLAG = ("production", "checkout")
DIFFERS = "web serves treatment to 10 %, mobile to 0 %"
TEN, NONE = {"control": 0.9, "treatment": 0.1}, {"control": 1.0, "treatment": 0.0}


def drifting(store: Any, every_s: float = 0.01) -> Drifting:
    return Drifting(store, every_s=every_s, stores_of=lambda *_: "web+mobile", settle_s=0.0)


def counted() -> float | None:
    return REGISTRY.get_sample_value("guardian_store_drift", {"stores": "web+mobile"})


async def test_a_difference_is_told_until_it_is_over():
    """A flag that somebody takes up again in one store alone is logged once, shown and counted, until it is mended."""
    web, mobile = shelf(), shelf()
    stores = Targets([target("web", web), target("mobile", mobile)])
    looking = drifting(stores)
    with capture_logs() as logs:
        running = asyncio.ensure_future(looking.run())
        await stores.apply(command())
        web.edit("checkout", shares=TEN)
        await until(lambda: looking.numbers()["drifting"] and counted())
        shown = looking.numbers()
        web.edit("checkout", shares=NONE)
        await until(lambda: not looking.numbers()["drifting"] and not counted())
        running.cancel()
        await asyncio.wait({running})

    assert {"drifting": 1, "drift": {"production|checkout": DIFFERS}} == shown
    assert ["stores_differ", "stores_agree"] == [one["event"] for one in logs if one["event"].startswith("stores_")]
    assert DIFFERS == next(one["said"] for one in logs if one["event"] == "stores_differ")


async def test_what_is_not_known_is_no_difference_and_ends_none():
    """A store that does not answer leaves what was told as it was."""
    web, mobile = shelf(), shelf()
    stores = Targets([target("web", web), target("mobile", mobile)])
    looking = drifting(stores)
    await stores.apply(command())
    web.edit("checkout", shares=TEN)
    await looking.look(FLAG)
    told, read = looking.numbers(), mobile.read

    async def away(flag_key: str) -> Any:
        raise StoreUnavailable(f"no answer about {flag_key}")

    mobile.read = away  # type: ignore[method-assign]
    await looking.look(FLAG)
    assert told == looking.numbers() and told["drifting"]
    mobile.read = read  # type: ignore[method-assign]
    web.edit("checkout", shares=NONE)
    await looking.look(FLAG)
    assert not looking.numbers()["drifting"]


@pytest.mark.parametrize("every_s", [0.0, 30.0])
async def test_there_is_nothing_to_compare_in_one_store_or_where_it_is_off(every_s):
    """One store, or `act.drift_every_s: 0`, compares nothing and shows nothing."""
    store = Targets([target("web", shelf()), target("mobile", shelf())]) if not every_s else target("web", shelf()).store
    looking = drifting(store, every_s)

    assert (False, {}) == (looking.is_on, looking.numbers())


async def test_a_flag_of_one_store_is_not_compared():
    """Of several stores, a flag that only one of them keeps is not looked at."""
    stores = Targets([target("web", shelf()), target("mobile", shelf(), "app-*")])
    await stores.apply(command())

    assert [] == stores.acted_on


async def _act(status: Status, settings: Settings) -> None:
    await run_act(settings, status, open_flag_store)


@pytest.mark.timeout(120)
async def test_act_shows_in_what_stores_differ(embedded_kafka, tmp_path):
    """After a kill in two stores somebody takes the variation up in one of them: act says so until that is mended."""
    flag = {"enabled": True, "shares": TEN, "rings": {}, "changed_by": "", "guardian": None}
    async with receiving({"production|checkout": flag}) as web, receiving({"production|checkout": flag}) as mobile:
        stores = {name: {"kind": "webhook", "url": one.url, "secret": SECRET} for name, one in (("web", web), ("mobile", mobile))}
        settings = Cluster(embedded_kafka, embedded=True).settings(stores=stores, act={"drift_every_s": 0.1})
        async with topics_of(settings) as (decide, receipts, _):
            with Killable(_act, tmp_path / "said", settings) as act:
                await act.ready()
                await decide(decision(1))
                (receipt,) = await receipts.until(receipts_in, 20, "a receipt")
                at_first = act.numbers["drift"]
                web.edit("checkout", TEN)
                shown = await until(lambda: act.numbers["drift"], within_s=20.0, what="the difference is shown")
                web.edit("checkout", NONE)
                await until(lambda: not act.numbers["drift"], within_s=20.0, what="it is mended")

    assert ("applied", "web+mobile", {}) == (receipt.status, receipt.store, at_first)
    assert {"production|checkout": DIFFERS} == shown
