// What became of a decision: decided, applied, effective, each with its time.

import { attr, h, keyed, text } from "./dom.js";
import { clock, duration } from "./format.js";

const STEP = {
  applied: ["Applied", "good"], already: ["Already in place", "good"], effective: ["Effective", "good"],
  failed: ["Failed", "bad"], conflict: ["Stopped by another change", "bad"], expired: ["Expired", "bad"],
  superseded: ["Overtaken by a later decision", "calm"], waiting: ["Waits for the store", "bad"],
  not_effective: ["Not effective", "bad"], shadow: ["Not sent: shadow mode", "calm"],
};
const DONE = new Set(["applied", "already"]);
const PATIENCE_MS = 30000;

// The steps that were taken, and those that are still to come of a kill that was meant.
export function steps(decision, nowMs) {
  const decided = Date.parse(decision.decided_at);
  const found = [{ id: "decided", label: "Decided", kind: "good", at: decision.decided_at, after: 0, said: decision.explanation }];
  for (const one of decision.receipts) {
    const [label, kind] = STEP[one.status];
    const where = one.store ? ` by ${one.store}` : "";
    found.push({ id: one.receipt_id, label: label + where, kind, at: one.at, after: Date.parse(one.at) - decided, said: one.text });
  }
  const has = (test) => decision.receipts.some((one) => test(one.status));
  const waiting = nowMs - decided > PATIENCE_MS ? "late" : "wait";
  if (decision.mode === "enforce" && !decision.receipts.length) {
    found.push({ id: "next", label: "Waiting for the flag store", kind: waiting });
  } else if (decision.action.startsWith("kill") && has((one) => DONE.has(one)) && !has((one) => one.endsWith("effective"))) {
    found.push({ id: "next", label: "Watching exposures end", kind: waiting });
  }
  return found;
}

export const troubled = (decision) => {
  const last = decision.receipts.at(-1);
  return Boolean(last && STEP[last.status][1] === "bad");
};

export function chain() {
  const el = h("ol", { class: "chain" });
  const parts = new Map();
  const update = (decision, nowMs) => keyed(el, parts, steps(decision, nowMs), (step) => step.id, makeStep);
  return { el, update };
}

function makeStep() {
  const label = h("b");
  const time = h("time", { class: "num" });
  const el = h("li", {}, h("i", { "aria-hidden": "true" }), label, time);
  const update = (step) => {
    attr(el, "class", step.kind);
    attr(el, "title", step.said || null);
    text(label, step.label);
    attr(time, "datetime", step.at || null);
    text(time, !step.at ? "" : step.after ? `+${duration(step.after)}` : clock(step.at));
  };
  return { el, update };
}
