// Decisions as people read them: the sentence, what became of it, and the numbers behind it on request.

import { chain } from "./chain.js";
import { attr, h, keyed, sentence, show, text } from "./dom.js";
import { ago, clock, pValue } from "./format.js";
import { askOverride } from "./override.js";
import { decisionLink, rolloutLink } from "./route.js";
import { decisionsOf, keyOf, now, state } from "./state.js";

export function decisionCard({ withRollout = false } = {}) {
  const said = h("p", { class: "said" });
  const when = h("a", { class: "when" });
  const where = withRollout ? h("a", { class: "where" }) : null;
  const shadow = h("span", { class: "tag" }, "Shadow");
  const receipts = h("ul", { class: "receipts" });
  const numbers = h("dl", { class: "numbers" });
  const more = h("details", {}, h("summary", {}, "Numbers and receipts"), receipts, numbers);
  const steps = chain();
  let shown = null;
  const undo = h("button", { type: "button", class: "quiet", onclick: () => askUndo(shown) }, "Resume");
  const el = h("article", { class: "decision" }, h("p", { class: "meta" }, where, when, shadow), said, steps.el, more, undo);
  const update = (decision) => {
    shown = decision;
    show(undo, withRollout && canUndo(decision));
    attr(el, "class", `decision ${decision.action.startsWith("kill") && decision.mode === "enforce" ? "is-kill" : ""}`);
    attr(el, "id", `decision-${decision.decision_id}`);
    sentence(said, decision.explanation);
    text(when, `${clock(decision.decided_at)} · ${ago(now() - Date.parse(decision.decided_at))}`);
    attr(when, "href", decisionLink(decision.decision_id));
    if (where) {
      text(where, `${decision.flag_key} · ${decision.environment}`);
      attr(where, "href", rolloutLink(keyOf(decision)));
    }
    show(shadow, decision.mode === "shadow");
    steps.update(decision, now());
    if (more.open) details(decision);
    more.ontoggle = () => more.open && details(decision);
  };
  const details = (decision) => {
    receipts.replaceChildren(...decision.receipts.map((one) => h("li", {}, one.text)));
    numbers.replaceChildren(...numbersOf(decision).flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: "num" }, String(value))]));
  };
  return { el, update, open: () => (more.open = true) };
}

// A kill that stands, and that a person may take back: on a rollout's own page that button is at the top.
function canUndo(decision) {
  const view = state.rollouts.get(keyOf(decision));
  return decision.action.startsWith("kill") && decision.mode === "enforce" && view?.status === "killed";
}

function askUndo(decision) {
  askOverride(state.rollouts.get(keyOf(decision)), "resume");
}

function numbersOf(decision) {
  const evidence = decision.evidence;
  const found = [
    ["Decision", decision.decision_id],
    ["Guardrail", decision.guardrail || "a person's wish"],
    ["Policy", decision.policy_hash],
    ["Evidence from", decision.evidence_from],
    ["Evidence to", decision.evidence_to],
  ];
  if (!evidence) return found;
  return found.concat([
    ["Test", evidence.lane ? `${evidence.test}, ${evidence.lane} lane` : evidence.test],
    ...(evidence.segment ? [["Segment", evidence.segment]] : []),
    ["Log evidence", `${evidence.log_e.toFixed(2)}, acts at ${evidence.log_threshold.toFixed(2)}`],
    ["Failed units", evidence.units],
    ...(evidence.p === null ? [] : [["Anytime p-value", pValue(evidence.p)]]),
    ...(evidence.ratio ? [["Ratio to control", Number(evidence.ratio.toPrecision(3))]] : []),
    ...(decision.differs ? [["Interval to control, 95 %", decision.differs]] : []),
    ...(decision.rests_on ? [["Rests on", decision.rests_on]] : []),
  ]);
}

// All decisions of all rollouts, newest first.
export function decisionsView() {
  const list = h("div", { class: "decision-list" });
  const missing = h("p", { class: "note" });
  const none = h("p", { class: "empty" }, "Nothing was decided in the last days. Rollouts that stay within their guardrails are left alone.");
  const el = h("section", { class: "page", "aria-labelledby": "decisions-title" }, h("h1", { id: "decisions-title" }, "Decisions"), missing, none, list);
  const parts = new Map();
  let shown = null;
  const update = (wanted, undo) => {
    const found = decisionsOf().slice(0, 200);
    keyed(list, parts, found, (one) => one.decision_id, () => decisionCard({ withRollout: true }));
    show(none, state.loaded && !found.length);
    const part = wanted && parts.get(wanted);
    show(missing, Boolean(wanted && state.loaded && !part));
    text(missing, `Decision ${wanted} is not among the newest ones.`);
    for (const [id, one] of parts) attr(one.el, "data-wanted", id === wanted);
    if (part && shown !== wanted) {
      part.open();
      part.el.scrollIntoView({ block: "center" });
      if (undo && canUndo(state.decisions.get(wanted))) askUndo(state.decisions.get(wanted));
    }
    shown = part ? wanted : null;
  };
  return { el, update };
}
