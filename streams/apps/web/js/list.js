// All rollouts, those first that need somebody.

import { armRows } from "./arms.js";
import { attr, h, keyed, show, text } from "./dom.js";
import { evidenceMeter, nearest } from "./evidence.js";
import { ago, count, share, titled } from "./format.js";
import { rolloutLink } from "./route.js";
import { now, state } from "./state.js";

const ORDER = ["killed", "paused", "holding", "stepping_back", "running", "planned", "completed"];
const MOST = 200;
const SEARCH_FROM = 7;

// Whoever is to act comes first; what is only watched, last.
const rank = (view) => ORDER.indexOf(view.status) + (view.mode === "shadow" ? ORDER.length : 0);
const byUrgency = (a, b) => rank(a) - rank(b) || (a.key < b.key ? -1 : 1);

// The stage's share, unless nobody gets it any more.
export const shareNow = (view) => (view.status === "killed" && view.mode !== "shadow" ? "0 %" : share(view.share));

export function pill() {
  const el = h("span", { class: "pill" });
  const update = (view) => {
    attr(el, "class", `pill ${view.status}`);
    text(el, titled(view.status));
  };
  return { el, update };
}

export function freshness() {
  const label = h("span");
  const el = h("span", { class: "fresh", title: "Telemetry" }, h("i", { "aria-hidden": "true" }), label);
  const update = (view) => {
    const behind = Math.max(0, now() - view.passed_ms);
    const late = view.telemetry === "fresh" && behind > 10000;
    const kind = late ? "stale" : view.telemetry;
    attr(el, "class", `fresh ${kind}`);
    const judged = behind < 1500 ? "judged up to now" : `judged up to ${ago(behind)}`;
    text(label, { fresh: `Fresh, ${judged}`, none: "No telemetry yet" }[kind] || `Stale, ${judged}`);
  };
  return { el, update };
}

function card() {
  const name = h("a", { class: "title" });
  const status = pill();
  const where = h("span", { class: "where" });
  const shadow = h("span", { class: "tag" }, "Shadow");
  const arms = armRows();
  const meter = evidenceMeter({ inSegment: true });
  const fresh = freshness();
  const mixed = h("span", { class: "tag warn" }, "Services disagree");
  const el = h("li", { class: "card" },
    h("div", { class: "card-head" }, h("h2", {}, name), status.el),
    h("p", { class: "meta" }, where, shadow, mixed), arms.el, meter.el, fresh.el);
  const update = (view) => {
    text(name, view.flag_key);
    attr(name, "href", rolloutLink(view.key));
    status.update(view);
    const stage = view.stages > 1 ? ` · stage ${view.stage + 1} of ${view.stages}` : "";
    const at = view.share === null ? "" : ` · ${shareNow(view)}`;
    text(where, view.environment + at + stage);
    show(shadow, view.mode === "shadow");
    show(mixed, view.mixed_units > 0);
    arms.update(view);
    show(meter.el, view.status !== "killed" && view.guardrails.length > 0);
    meter.update(nearest(view));
    fresh.update(view);
    attr(el, "data-status", view.status);
  };
  return { el, update };
}

export function listView() {
  const search = h("input", { type: "search", placeholder: "Find a rollout", "aria-label": "Find a rollout", oninput: () => update(chosen) });
  const cards = h("ul", { class: "cards" });
  const note = h("p", { class: "note" });
  const el = h("section", { class: "list", "aria-label": "Rollouts" }, search, cards, note);
  const parts = new Map();
  let chosen = null;
  const update = (key) => {
    chosen = key;
    const words = search.value.trim().toLowerCase();
    const all = [...state.rollouts.values()].filter((view) => `${view.key} ${view.owner}`.toLowerCase().includes(words));
    all.sort(byUrgency);
    show(search, state.rollouts.size >= SEARCH_FROM || words !== "");
    keyed(cards, parts, all.slice(0, MOST), (view) => view.key, card);
    for (const [at, part] of parts) attr(part.el, "aria-current", at === key ? "true" : null);
    show(note, all.length > MOST || (words !== "" && !all.length));
    text(note, all.length ? `${MOST} of ${count(all.length)} are shown; find others by name.` : `No rollout is called “${words}”.`);
  };
  return { el, update };
}

export function mostUrgent() {
  return [...state.rollouts.values()].sort(byUrgency)[0]?.key || null;
}

export function emptyView() {
  return h("section", { class: "empty" },
    h("h1", {}, "No rollout is watched yet"),
    h("p", {}, "A rollout appears here as soon as its policy is read:"),
    h("ol", {},
      h("li", {}, "Write a policy: which flag, which control, and what must not happen.", h("pre", {}, h("code", {}, EXAMPLE))),
      h("li", {}, "Check it: ", h("code", {}, "guardian check config/policies")),
      h("li", {}, "Run the guardian with it: ", h("code", {}, "guardian run"), ". It needs the events of your services in Kafka.")));
}

const EXAMPLE = `flag: checkout-v2
environment: production
control: control
owner: team-checkout
guardrails:
  - when: error_rate > 1.2x control
    then: kill`;
