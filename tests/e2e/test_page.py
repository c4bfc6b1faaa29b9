from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from guardian.decisions import ArmView, GuardrailView, Part
from guardian.journal import Override
from streams.policies import read_policies
from streams.settings import Settings
from tests.support.page import Hand, now_ms, page, read_journal
from tests.support.published import GUARDRAIL, decision, evidence, receipt, rollout

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="needs Chromium: apt-get install chromium"
    ),
    pytest.mark.timeout(90),
]


# Chromium shares the machine with whatever else runs.
expect.set_options(timeout=20_000)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        await found.close()


@pytest.fixture
async def tab(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A tab that shows the page; whatever it complains of fails the test."""
    complaints: list[str] = []
    tab = await browser.new_page(viewport={"width": 1280, "height": 900})
    tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    await tab.goto(url)
    yield tab
    assert [] == complaints


async def test_a_kill_is_seen_as_it_happens(tab: Page, publish: Hand):
    """
    Rollouts appear by themselves; then the kill, its sentence, and what became of it: without a reload.
    """
    await expect(tab.get_by_role("heading", name="No rollout is watched yet")).to_be_visible()

    for step in range(4):
        await publish.rollout(rollout("checkout-v2", at_ms=now_ms() - 2000 + 500 * step))
    await publish.rollout(rollout("new-cart", at_ms=now_ms()))
    cards = tab.get_by_role("region", name="Rollouts").get_by_role("listitem")
    await expect(cards).to_have_count(2)
    await expect(cards.nth(0)).to_contain_text("Running")
    await expect(tab.get_by_role("alert").filter(visible=True)).to_have_count(0)
    await expect(tab.get_by_text("Nothing has happened to checkout-v2 in production:")).to_be_visible()

    killed = decision(at_ms=now_ms())
    await publish.decision(killed)
    await publish.rollout(
        rollout("checkout-v2", at_ms=now_ms(), status="killed", explanation=killed.explanation, guardrails=())
    )
    banner = tab.get_by_role("alert").filter(has_text="Variation killed")
    await expect(banner).to_contain_text(killed.explanation)
    await expect(banner).to_contain_text("Waiting for the flag store")
    await expect(cards.nth(0)).to_contain_text("Killed")
    await expect(cards.nth(1)).to_contain_text("Running")

    await publish.receipt(receipt(killed, "applied"))
    await expect(banner).to_contain_text(re.compile(r"Applied by flagd\+41 ms"))
    await expect(banner).to_contain_text("Watching exposures end")
    await publish.receipt(receipt(killed, "effective", after_ms=5200))
    await expect(banner).to_contain_text(re.compile(r"Effective\+5.2 s"))
    await expect(banner).not_to_contain_text("Watching")
    chart = tab.get_by_role("img", name=re.compile("^Evidence over time"))
    await expect(chart.locator("canvas")).to_be_visible()


async def test_a_kill_that_did_not_help_is_loud(tab: Page, publish: Hand):
    """
    A kill that did not take effect is told above everything else, with what is still seen.
    """
    killed = decision(at_ms=now_ms())
    await publish.rollout(rollout(at_ms=now_ms(), status="killed"))
    await publish.decision(killed)
    await publish.receipt(receipt(killed, "not_effective", after_ms=5000, detail="41 exposures to treatment"))

    await expect(tab.get_by_role("alert").filter(has_text="A kill has not helped")).to_contain_text(
        "has not taken effect 5.0 s after it was decided, exposures are still seen: 41 exposures to treatment."
    )


async def test_numbers_are_shown_as_they_are(tab: Page, publish: Hand):
    """
    Rates come with their intervals; silence, old telemetry and services that disagree are shown as such.
    """
    arms = (
        ArmView(variation="control", share=0.9, n=2790, errors=27, rate=27 / 2790),
        ArmView(variation="treatment", share=0.1),
    )
    rows = (GuardrailView(guardrail=GUARDRAIL, variation="treatment", action="kill", log_e=None, log_threshold=6.9),)
    old: dict[str, Any] = {
        "telemetry": "stale",
        "passed_ms": now_ms() - 42_000,
        "mixed_units": 14,
        "mixed_services": ("cart", "shop"),
    }
    await publish.rollout(rollout(at_ms=now_ms(), arms=arms, guardrails=rows, **old))

    detail = tab.get_by_role("region", name="Rollout", exact=True)
    await expect(detail.get_by_role("row", name=re.compile("^control 90 % 2,790 27 1.0 %"))).to_be_visible()
    await expect(detail.get_by_role("row", name=re.compile("^treatment 10 % 0 0 no data"))).to_be_visible()
    await expect(detail.get_by_role("img", name="control: 1.0 %, between 0.39 % and 1.9 %")).to_be_visible()
    await expect(detail).to_contain_text("No evidence read yet")
    await expect(detail).to_contain_text(
        "14 units of checkout-v2 in production saw two variations, shown by cart and shop."
    )
    await expect(detail).to_contain_text(re.compile(r"Stale, judged up to 4\d s ago"))


def standing(guardrail: str = GUARDRAIL, log_e: float | None = 1.9, **more: Any) -> GuardrailView:
    fields = {"variation": "treatment", "action": "kill", "log_threshold": 6.9}
    return GuardrailView(guardrail=guardrail, log_e=log_e, **fields | more)


async def test_a_guardrail_shows_by_how_much_it_differs(tab: Page, publish: Hand):
    """
    A row shows its value against control's, the interval of their ratio, p, and why it is not acted on.
    """
    row = standing(
        value=31 / 312, value_control=27 / 2790, interval=(4.61, 22.9), p=0.00312, why="too few units failed to act on it"
    )
    await publish.rollout(rollout(at_ms=now_ms(), guardrails=(row, standing("latency_p95 > 300ms", None))))

    shown = tab.get_by_role("button", name=re.compile("^error_rate > 1.2x control"))
    await expect(shown).to_contain_text("9.9\u00a0% against 1.0\u00a0%")
    await expect(shown).to_contain_text("4.6 to 23 times")
    await expect(shown).to_contain_text("p = 0.0031")
    await expect(shown).to_contain_text("Too few units failed to act on it")
    await expect(shown.get_by_role("img", name="4.6 to 23 times control's, 95 % interval")).to_be_visible()
    await expect(tab.get_by_role("button", name=re.compile("^latency_p95 > 300ms"))).not_to_contain_text("p =")


async def test_the_worst_comes_first_and_segments_are_folded(tab: Page, publish: Hand):
    """
    The guardrail that is nearest to acting, in whichever segment, is on top; its segments open on request.
    """
    rows = (
        standing("csat < control - 0.3", 4.0),
        standing(log_e=1.0),
        *(standing(log_e=log_e, segment=f"country={name}") for name, log_e in (("FR", -1.0), ("DE", 5.5), ("IT", None))),
    )
    await publish.rollout(rollout(at_ms=now_ms(), guardrails=rows))

    lines = tab.get_by_role("region", name="Evidence").get_by_role("button")
    await expect(lines).to_have_count(2)
    await expect(lines.first).to_contain_text("error_rate > 1.2x control")
    await tab.get_by_text("3 segments · nearest country=DE, 245× of 992×").click()
    await expect(lines).to_have_text([re.compile(at) for at in ("^error_rate", "=DE", "=FR", "=IT", "^csat")])
    await lines.nth(1).click()
    chart = tab.get_by_role("img", name=re.compile("^Evidence over time. treatment in country=DE 245×"))
    await expect(chart).to_be_visible()


async def test_a_decision_tells_what_it_rests_on(tab: Page, publish: Hand, url: str):
    """
    The full record of a decision of several guardrails names them, the segment, p, and the interval.
    """
    parts = tuple(
        Part(guardrail=name, share=share, on_its_own=share > 0.5)
        for name, share in ((GUARDRAIL, 0.8), ("csat < control", 0.2))
    )
    found = evidence(segment="country=DE", p=0.0007, parts=parts)
    await publish.decision(decision(1, at_ms=now_ms(), evidence=found))
    await tab.goto(f"{url}/#/decisions/production%7Ccheckout-v2%7Ctreatment%7C1")

    wanted = tab.locator('article[data-wanted="true"]')
    await expect(wanted).to_contain_text("Killed checkout-v2/treatment in production because of country=DE: 31 of 312")
    await expect(wanted).to_contain_text("p = 0.0007")
    await expect(wanted).to_contain_text("4.6 to 23 times")
    await expect(wanted).to_contain_text(
        "80 % of the evidence is from “error_rate > 1.2x control”, 20 % from “csat < control”; "
        "only “error_rate > 1.2x control” would have been enough alone."
    )


async def test_a_person_kills_from_the_page(tab: Page, publish: Hand, given: Settings):
    """
    A person's kill goes into the journal with name and reason; without them it is not sent. Keyboard alone will do.
    """
    await publish.rollout(rollout(at_ms=now_ms()))
    await tab.get_by_role("button", name="Kill", exact=True).press("Enter")
    dialog = tab.get_by_role("dialog", name="Kill checkout-v2 in production?")
    await expect(dialog.get_by_label("Your name")).to_be_focused()
    await tab.keyboard.type("ada")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    await expect(dialog).to_be_visible()  # a reason is missing
    await dialog.get_by_label("Why").fill("carts are empty")
    await dialog.get_by_role("button", name="Kill", exact=True).press("Enter")
    await expect(tab.get_by_text("Sent: kill of checkout-v2.")).to_be_visible()
    ((_, _, wish),) = await read_journal(given, 1)

    assert isinstance(wish, Override)
    assert ("kill", "treatment", "ada", "carts are empty") == (wish.action, wish.variation, wish.by, wish.reason)


async def test_names_are_never_markup(tab: Page, publish: Hand):
    """
    Whatever a flag, a service or a person is called, it is shown as text and nothing else.
    """
    name = "<img src=x onerror=alert(1)>"
    of = decision(flag=name, at_ms=now_ms(), variant="<b>v2</b>")
    await publish.rollout(rollout(name, at_ms=now_ms(), mixed_units=1, mixed_services=("<i>shop</i>",), owner="<u>"))
    await publish.decision(of)

    await expect(tab.get_by_role("heading", name=name, level=1)).to_be_visible()
    await expect(tab.get_by_role("alert").filter(has_text=of.explanation)).to_be_visible()
    assert 0 == await tab.locator("main img, main i i, main u").count()


async def test_an_undo_link_asks_for_the_resume(tab: Page, publish: Hand, url: str, given: Settings):
    """
    The undo link that a page on call holds opens the decision and asks who resumes it and why; nothing happens before.
    """
    await publish.rollout(rollout("checkout-v2", at_ms=now_ms(), status="killed"))
    await publish.decision(decision(1, at_ms=now_ms()))
    await expect(tab.get_by_role("alert").filter(has_text="Variation killed")).to_be_visible()
    link = f"{url}/#/decisions/production%7Ccheckout-v2%7Ctreatment%7C1/undo"
    await tab.goto(link)
    dialog = tab.get_by_role("dialog")
    await expect(dialog).to_contain_text("Resume checkout-v2 in production?")
    await dialog.get_by_label("Your name").fill("ada")
    await dialog.get_by_label("Why").fill("build 81 mends it")
    await dialog.get_by_role("button", name="Resume").click()
    await expect(dialog).to_be_hidden()
    ((_, key, wish),) = await read_journal(given, 1)

    assert isinstance(wish, Override)
    assert ("production|checkout-v2", "resume", "ada") == (key, wish.action, wish.by)


async def test_a_decision_has_its_own_address(tab: Page, publish: Hand, url: str):
    """
    The address that a page on call holds shows that decision with its numbers.
    """
    for number in range(3):
        await publish.decision(decision(number, at_ms=now_ms() + number))
    await tab.goto(f"{url}/#/decisions/production%7Ccheckout-v2%7Ctreatment%7C1")

    wanted = tab.locator('article[data-wanted="true"]')
    await expect(wanted).to_contain_text("production|checkout-v2|treatment|1")
    await expect(wanted).to_contain_text("two_sample_block, fast lane")
    await expect(tab.get_by_role("article")).to_have_count(3)


async def test_a_phone_shows_one_thing_at_a_time(browser: Browser, publish: Hand, url: str):
    """
    On a phone the list leads to a rollout and back, and nothing is wider than the screen.
    """
    await publish.rollout(rollout("a-flag-with-a-rather-long-name-that-goes-on-and-on", at_ms=now_ms()))
    context = await browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    phone = await context.new_page()
    await phone.goto(url)
    detail = phone.get_by_role("region", name="Rollout", exact=True)
    await expect(detail).to_be_hidden()
    await phone.get_by_role("link", name="a-flag-with").tap()
    await expect(detail).to_be_visible()
    assert 360 == await phone.evaluate("() => document.documentElement.scrollWidth")
    await phone.get_by_role("link", name="All rollouts").tap()
    await expect(phone.get_by_role("region", name="Rollouts")).to_be_visible()
    await context.close()


async def test_kills_of_shadow_mode_are_looked_back_on(tab: Page, publish: Hand):
    """
    The detail says what became of kills that were not carried out, and shows nothing where there were none.
    """
    plain = {"variation": "treatment", "guardrail": "error_rate > 5%", "decided_at": "2026-09-21T14:13:20.000Z"}
    seen = [{"decision_id": "1", "seen": "contradicted", "starts": 4_120, **plain}]
    await publish.rollout(rollout(at_ms=now_ms(), mode="shadow", hindsight=seen))
    panel = tab.get_by_role("region", name="In hindsight")
    await expect(panel.get_by_role("listitem")).to_have_text([re.compile("Contradicted: .* is not so; 4,120 requests since")])

    await publish.rollout(rollout(at_ms=now_ms(), mode="shadow"))
    await expect(panel).to_be_hidden()


async def test_what_is_waited_for_is_shown_and_approved(tab: Page, publish: Hand, given: Settings):
    """
    The detail says why a rollout has not advanced, follows it, and lets a group that is asked approve.
    """
    more: dict[str, Any] = {"approvals": {"legal": ""}, "waits": ("waits until 14:00 UTC", "waits for legal")}
    await publish.rollout(rollout(at_ms=now_ms(), **more))
    waits = tab.get_by_role("region", name="Why it has not advanced")
    await expect(waits.get_by_role("listitem")).to_have_text(["waits until 14:00 UTC", "waits for legal"])

    await waits.get_by_role("button", name="Approve for legal").click()
    dialog = tab.get_by_role("dialog")
    await expect(dialog).to_contain_text("In the name of legal.")
    await dialog.get_by_label("Your name").fill("grace")
    await dialog.get_by_label("Why").fill("reviewed")
    await dialog.get_by_role("button", name="Approve").click()
    [(_, _, entry)] = await read_journal(given, 1)
    assert isinstance(entry, Override)
    assert ("approve", "legal", 1) == (entry.action, entry.group, entry.stage)

    await publish.rollout(rollout(at_ms=now_ms(), approvals={"legal": "grace"}, waits=("waits until 14:00 UTC",)))
    await expect(waits.get_by_role("listitem")).to_have_text(["waits until 14:00 UTC"])
    await expect(waits.get_by_role("button")).to_have_count(0)
    await publish.rollout(rollout(at_ms=now_ms(), status="completed"))
    await expect(waits).to_be_hidden()


async def test_a_lost_connection_is_said_and_healed(browser: Browser, given: Settings, publish: Hand):
    """
    When the API is gone the page says that it shows the past, and goes on by itself when it is back.
    """
    await publish.rollout(rollout(at_ms=now_ms()))
    tab = await browser.new_page()
    async with page(given) as first:
        await tab.goto(first)
        await expect(tab.get_by_role("status").filter(has_text="Live")).to_be_visible()
        port = int(first.rpartition(":")[2])
    await expect(tab.get_by_role("alert").filter(has_text="The connection is lost")).to_be_visible()
    await publish.rollout(rollout("new-cart", at_ms=now_ms()))
    async with page(given.model_copy(update={"api": given.api.model_copy(update={"port": port})})):
        await expect(tab.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=15_000)
        await expect(tab.get_by_role("link", name="new-cart")).to_be_visible()
        await expect(tab.get_by_role("alert").filter(visible=True)).to_have_count(0)


async def test_what_came_meanwhile_is_not_forgotten(browser: Browser, publish: Hand, url: str):
    """
    What the stream tells while the first snapshot is on its way stays, though the snapshot does not have it.
    """
    asked, answer = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        snapshot = await route.fetch()
        asked.set()
        await answer.wait()
        await route.fulfill(response=snapshot)

    tab = await browser.new_page()
    await tab.route(re.compile("/api/(rollouts|decisions)"), late)
    await tab.goto(url)
    await asyncio.wait_for(asked.wait(), 20)
    killed = decision(at_ms=now_ms())
    await publish.receipt(receipt(killed, "applied"))
    await publish.rollout(rollout(at_ms=now_ms(), status="killed"))
    await expect(tab.get_by_role("link", name="checkout-v2")).to_be_visible()
    await publish.decision(killed)
    await expect(tab.get_by_role("alert")).to_contain_text(["Killed checkout-v2/treatment"])
    answer.set()
    await expect(tab.get_by_role("status").filter(has_text="Live")).to_be_visible()

    await expect(tab.get_by_role("link", name="checkout-v2")).to_be_visible()
    await expect(tab.get_by_role("alert").filter(visible=True)).to_contain_text("Applied by flagd")


async def test_the_example_of_the_empty_page_is_a_policy(tab: Page, tmp_path):
    """
    The policy that the empty page shows as an example passes the check.
    """
    example = tmp_path / "example.yaml"
    example.write_text(await tab.locator("pre code").inner_text())
    (read,) = read_policies([example])

    assert () == read.problems
    assert ["production|checkout-v2"] == [policy.key for policy in read.policies]
