// Kills that people should know of, above everything else until they are dismissed or taken back.

import { chain, troubled } from "./chain.js";
import { attr, h, keyed, sentence, text } from "./dom.js";
import { ago } from "./format.js";
import { rolloutLink, route } from "./route.js";
import { decisionsOf, keyOf, now, state } from "./state.js";

const SHOWN_MS = 3600000;
const MOST = 3;
const dismissed = new Set(JSON.parse(sessionStorage.getItem("dismissed") || "[]"));

// The newest kill of each rollout that was meant, happened lately, and was not taken back since.
function standing() {
  const over = new Set();
  const found = [];
  for (const one of decisionsOf()) {
    const key = keyOf(one);
    if (one.mode !== "enforce" || over.has(key)) continue;
    if (one.action === "resume") over.add(key);
    if (!one.action.startsWith("kill")) continue;
    over.add(key);
    if (now() - Date.parse(one.decided_at) < SHOWN_MS || troubled(one)) found.push(one);
  }
  return found.filter((one) => !dismissed.has(one.decision_id));
}

export function banners(el) {
  const stale = h("p", { class: "banner stale", role: "alert" });
  const list = h("div");
  const rest = h("a", { href: "#/decisions", class: "rest" });
  const parts = new Map();
  el.append(stale, list, rest);
  return () => {
    const trouble = connectionTrouble();
    stale.hidden = !trouble;
    text(stale, trouble || "");
    // On its own page a kill is told there; trouble is told everywhere.
    const here = route().key;
    const found = standing().filter((one) => keyOf(one) !== here || troubled(one));
    keyed(list, parts, found.slice(0, MOST), (one) => one.decision_id, killBanner);
    rest.hidden = found.length <= MOST;
    text(rest, `and ${found.length - MOST} more`);
  };
}

function connectionTrouble() {
  if (!state.loaded) return state.feed.why === "connecting" ? null : `Nothing can be shown yet: ${state.feed.why}.`;
  if (!state.live) return "The connection is lost: this is how things stood then. Trying again…";
  return state.feed.ok ? null : `This is how things stood: ${state.feed.why}.`;
}

function killBanner(decision) {
  const said = h("p", { class: "said" });
  const when = h("span", { class: "when" });
  const title = h("b");
  const steps = chain();
  const close = h("button", { type: "button", class: "close", "aria-label": "Dismiss" }, "×");
  const link = h("a", { href: rolloutLink(keyOf(decision)), class: "button" }, "Show the rollout");
  const el = h("section", { class: "banner kill", role: "alert" }, h("p", { class: "head" }, title, when, close), said, steps.el, link);
  close.addEventListener("click", () => {
    dismissed.add(decision.decision_id);
    sessionStorage.setItem("dismissed", JSON.stringify([...dismissed].slice(-200)));
    el.remove();
  });
  const update = (one) => {
    const bad = troubled(one);
    attr(el, "class", bad ? "banner kill bad" : "banner kill");
    text(title, bad ? "A kill has not helped" : one.action === "kill_flag" ? "Flag killed" : "Variation killed");
    text(when, ` ${ago(now() - Date.parse(one.decided_at))}`);
    const last = one.receipts.at(-1);
    sentence(said, bad ? last.text : one.explanation);
    steps.update(one, now());
  };
  return { el, update };
}
