// Evidence: how near each guardrail is to acting. Numbers are natural logs; people read "so many times".

import { attr, h, text } from "./dom.js";
import { count } from "./format.js";

const ACTION = { kill_flag: "kill of the flag", step_back: "step back" };
export const actionName = (action) => ACTION[action] || action;

export const times = (log) => {
  const value = Math.exp(log);
  if (value >= 1e6) return `10^${(log / Math.LN10).toFixed(0)}×`;
  return `${value >= 10 ? count(Number(value.toPrecision(3))) : Number(value.toPrecision(2))}×`;
};

export const nearness = (row) =>
  row.log_e === null || !(row.log_threshold > 0) ? null : Math.max(0, row.log_e / row.log_threshold);

export function nearest(view) {
  const measured = view.guardrails.filter((row) => nearness(row) !== null);
  return measured.sort((a, b) => nearness(b) - nearness(a))[0] || null;
}

export const standing = (row) => (row.log_e > 0 ? `${times(row.log_e)} of ${times(row.log_threshold)}` : "none so far");

// A thin bar from nothing to the threshold; full is what acts.
export function evidenceMeter({ inSegment = false } = {}) {
  const bar = h("i");
  const label = h("span", { class: "meter-label" });
  const meter = h("div", { class: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
  const el = h("div", { class: "evidence" }, label, meter);
  const update = (row) => {
    const part = row && nearness(row);
    if (part === null) {
      text(label, "No evidence read yet");
      attr(meter, "aria-valuenow", 0);
      bar.style.width = "0";
      return;
    }
    const shown = Math.round(Math.min(part, 1) * 100);
    const stands = standing(row);
    text(label, `Evidence for ${row.action === "alert" ? "an" : "a"} ${actionName(row.action)}${inSegment && row.segment ? ` in ${row.segment}` : ""}: ${stands}`);
    attr(meter, "aria-valuenow", shown);
    attr(meter, "aria-label", `Evidence on ${row.variation} by ${row.guardrail}${row.segment ? ` in ${row.segment}` : ""}`);
    bar.style.width = `${shown}%`;
    attr(meter, "class", `meter ${part >= 1 ? "full" : part >= 0.6 ? "high" : ""}`);
  };
  return { el, update };
}
