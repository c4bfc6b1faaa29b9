// One rollout: where it stands, why, how it came to be, and what a person can do about it.

import { armTable, colourOf } from "./arms.js";
import { evidenceChart, evidenceShown, rateChart, ratesShown } from "./charts.js";
import { decisionCard } from "./decisions.js";
import { attr, h, keyed, sentence, show, text } from "./dom.js";
import { nearest } from "./evidence.js";
import { guardrailList } from "./guardrails.js";
import { addDecision, addView, emptyLines, fromServer } from "./lines.js";
import { hindsightList } from "./hindsight.js";
import { freshness, pill, shareNow } from "./list.js";
import { get, onEvent } from "./live.js";
import { askOverride } from "./override.js";
import { changed, decisionsOf, keyOf, state } from "./state.js";
import { onTheme } from "./theme.js";
import { waitList } from "./waits.js";

export function detailView() {
  const title = h("h1");
  const status = pill();
  const shadow = h("span", { class: "tag" }, "Shadow mode");
  const buttons = ["pause", "resume", "kill"].map((action) =>
    h("button", { type: "button", class: action === "kill" ? "danger" : "quiet", onclick: () => askOverride(state.rollouts.get(key), action) },
      { pause: "Pause", resume: "Resume", kill: "Kill" }[action]));
  const facts = ["Environment", "Share", "Stage", "Owner"].map((name) => ({ name, el: h("dd", { class: "num" }) }));
  const fresh = freshness();
  const why = h("p", { class: "why" });
  const waits = waitList(() => state.rollouts.get(key));
  const hindsight = hindsightList();
  const mixed = h("p", { class: "warning", role: "status" });
  const noted = h("p", { class: "warning", role: "status" });
  const arms = armTable();
  const rows = guardrailList((row) => {
    chosen = row;
    changed();
  });
  const evidence = evidenceChart();
  const rates = rateChart();
  const decisions = h("div", { class: "decision-list" });
  const none = h("p", { class: "note" }, "Nothing was decided about this rollout in the last days.");
  const last = decisionCard();
  const lastBox = h("section", { class: "panel", "aria-labelledby": "h-last" }, h("h2", { id: "h-last" }, "Last decision"), last.el);
  const earlier = h("details", { class: "earlier" }, h("summary", {}, "Earlier decisions"), decisions);
  const el = h("section", { class: "detail", "aria-label": "Rollout" },
    h("a", { class: "back", href: "#/" }, "← All rollouts"),
    h("header", {}, h("div", { class: "name" }, title, status.el, shadow), h("div", { class: "actions" }, buttons)),
    h("dl", { class: "facts" }, facts.map((one) => h("div", {}, h("dt", {}, one.name), one.el)), h("div", {}, h("dt", {}, "Telemetry"), h("dd", {}, fresh.el))),
    noted, mixed, why, waits.el, hindsight.el, lastBox, none,
    h("section", { class: "panel", "aria-labelledby": "h-arms" }, h("h2", { id: "h-arms" }, "Error rate by variation"), arms.el,
      h("p", { class: "caption" }, "Since this share began. Bars are 95 % intervals that hold however often one looks.")),
    h("section", { class: "panel", "aria-labelledby": "h-evidence" }, h("h2", { id: "h-evidence" }, "Evidence"),
      h("p", { class: "caption" }, "How many times likelier the data is if the variation breaks the guardrail. At the dashed line the guardian acts."), evidence.el, rows.el,
      h("p", { class: "caption" }, "Intervals (95 %) are of the ratio to control, or of the difference, and p is anytime: all hold however often one looks.")),
    h("section", { class: "panel", "aria-labelledby": "h-rates" }, h("h2", { id: "h-rates" }, "Error rate, last minutes"), rates.el),
    earlier);

  const earlierParts = new Map();
  let key = null;
  let lines = emptyLines();
  let chosen = null;
  let meanwhile = null; // what comes while the past is being read

  async function open(next) {
    if (key !== next) {
      chosen = null;
      lines = emptyLines();
    }
    key = next;
    const came = (meanwhile = []);
    try {
      const given = await get(`/api/rollouts/${encodeURIComponent(next)}/history`);
      if (key !== next || meanwhile !== came) return;
      lines = fromServer(given);
      for (const add of came) add(lines);
      changed();
    } catch (_) {
      // The charts then begin now.
    }
    if (meanwhile === came) meanwhile = null;
  }

  function add(one) {
    one(lines);
    if (meanwhile) meanwhile.push(one);
  }

  onEvent((kind, data) => {
    if (kind === "loaded" && key) open(key);
    if (kind === "rollout" && data.key === key) add((to) => addView(to, data));
    if (kind === "decision" && keyOf(data) === key) add((to) => addDecision(to, data));
  });
  onTheme(() => [evidence, rates].forEach((one) => one.repaint()));

  function update(wanted) {
    const view = state.rollouts.get(wanted);
    if (!view) return;
    if (wanted !== key) open(wanted);
    text(title, view.flag_key);
    status.update(view);
    show(shadow, view.mode === "shadow");
    const shown = [view.environment, shareNow(view), view.stages > 1 ? `${view.stage + 1} of ${view.stages}` : "–", view.owner || "nobody"];
    facts.forEach((one, i) => text(one.el, shown[i]));
    fresh.update(view);
    sentence(mixed, view.mixed ? `${view.mixed} Until they agree, this rollout's numbers mix both.` : "");
    show(mixed, Boolean(view.mixed));
    sentence(noted, view.note ? `Of this rollout: ${view.note}.` : "");
    show(noted, Boolean(view.note));
    updateDecisions(view);
    waits.update(view);
    hindsight.update(view);
    arms.update(view);
    updateCharts(view);
    const offered = {
      pause: ["running", "holding", "stepping_back"],
      resume: ["paused", "holding", "killed"],
      kill: ["running", "holding", "paused", "stepping_back", "planned", "completed"],
    };
    buttons.forEach((one, i) => show(one, offered[["pause", "resume", "kill"][i]].includes(view.status)));
  }

  function updateDecisions(view) {
    const found = decisionsOf(view.key);
    show(none, state.loaded && !found.length);
    show(lastBox, found.length > 0);
    if (found.length) last.update(found[0]);
    show(earlier, found.length > 1);
    keyed(decisions, earlierParts, found.slice(1, 50), (one) => one.decision_id, () => decisionCard());
    // What the last decision says need not be said twice.
    sentence(why, view.why);
    show(why, !found.length || !view.why.includes(found[0].explanation.replace(/\.$/, "")));
  }

  function updateCharts(view) {
    const marks = decisionsOf(view.key).filter((one) => one.action.startsWith("kill") && one.mode === "enforce")
      .map((one) => ({ t: Date.parse(one.decided_at) / 1000, colour: "kill" }));
    const colours = (variation) => colourOf(view, variation);
    const lead = chosen || nearest(view) || view.guardrails[0] || [...lines.evidence.values()][0];
    rows.update(view, lead);
    if (lead) evidence.update(evidenceShown(lines, lead, marks, colours));
    rates.update(ratesShown(lines, marks, colours));
  }

  return { el, update, title: () => (key ? state.rollouts.get(key)?.flag_key : null) };
}
