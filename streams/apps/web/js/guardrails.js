// Where each guardrail stands: what it reads, by how much the variation differs, how near it is to acting.

import { attr, h, keyed, s, sentence, show, text } from "./dom.js";
import { actionName, evidenceMeter, nearness, standing } from "./evidence.js";
import { count, pValue, titled } from "./format.js";
import { rowKey } from "./lines.js";

const WIDEST = Math.log(20);
const HIGH = 0.6;

// A guardrail on a variation with its segments, the worst first. Steps of a tenth: lines must not change places all the time.
export function groupsOf(view) {
  const groups = new Map();
  for (const row of view.guardrails) {
    const key = `${row.guardrail}\n${row.variation}`;
    if (!groups.has(key)) groups.set(key, { key, rows: [] });
    groups.get(key).rows.push(row);
  }
  for (const group of groups.values()) {
    group.rows = worstFirst(group.rows, (row) => nearness(row));
    const whole = group.rows.findIndex((row) => !row.segment);
    [group.head] = group.rows.splice(Math.max(whole, 0), 1);
  }
  return worstFirst([...groups.values()], (group) => Math.max(...[group.head, ...group.rows].map((row) => nearness(row) ?? -1)));
}

function worstFirst(items, of) {
  const step = (item) => Math.floor((of(item) ?? -1) * 10);
  return [...items].sort((a, b) => step(b) - step(a));
}

export function guardrailList(choose) {
  const el = h("div", { class: "guardrails" });
  const parts = new Map();
  const update = (view, lead) => {
    keyed(el, parts, groupsOf(view), (group) => group.key, () => groupOf(choose));
    for (const part of parts.values()) part.chosen(lead ? rowKey(lead) : null);
  };
  return { el, update };
}

function groupOf(choose) {
  const head = guardrailRow(choose);
  const summary = h("summary", { class: "num" });
  const list = h("div", { class: "guardrails" });
  const segments = h("details", { class: "segments" }, summary, list);
  const el = h("div", { class: "group" }, head.el, segments);
  const parts = new Map();
  const update = ({ head: first, rows }) => {
    head.update(first);
    show(segments, rows.length > 0);
    keyed(list, parts, rows, rowKey, () => guardrailRow(choose, { isPart: true }));
    if (!rows.length) return;
    const worst = rows[0];
    const near = nearness(worst);
    const told = near === null ? "no evidence read yet" : worst.log_e > 0 ? `nearest ${worst.segment}, ${standing(worst)}` : "no evidence so far";
    text(summary, `${count(rows.length)} segment${rows.length === 1 ? "" : "s"} · ${told}`);
    attr(summary, "class", `num ${near >= HIGH ? "high" : ""}`);
  };
  const chosen = (key) => [head, ...parts.values()].forEach((part) => part.chosen(key));
  return { el, update, chosen };
}

// One line; a press shows it in the chart.
function guardrailRow(choose, { isPart = false } = {}) {
  const name = h("code");
  const on = h("span", { class: "on" });
  const values = h("span", { class: "values" });
  const ratio = ratioBar();
  const differs = h("span", { class: "differs" });
  const p = h("span", { class: "p", title: "Anytime p-value: how often a variation that does no harm would ever look as bad" });
  const reads = h("span", { class: "reads num" }, values, ratio.el, differs, p);
  const why = h("span", { class: "why-row" });
  const meter = evidenceMeter();
  const el = h("button", { type: "button", class: isPart ? "guardrail part" : "guardrail" },
    h("span", { class: "what" }, name, on), meter.el, reads, why);
  let row = null;
  el.addEventListener("click", () => choose(row));
  const update = (given) => {
    row = given;
    text(name, isPart ? row.segment : row.guardrail);
    text(on, isPart ? "" : [titled(actionName(row.action)), row.variation, row.segment].filter(Boolean).join(" · "));
    sentence(values, row.values);
    ratio.update(row);
    sentence(differs, row.differs);
    text(p, row.p === null ? "" : pValue(row.p));
    sentence(why, row.why.charAt(0).toUpperCase() + row.why.slice(1));
    show(why, row.why !== "");
    show(reads, Boolean(row.values || row.differs || row.p !== null));
    meter.update(row);
  };
  return { el, update, chosen: (key) => attr(el, "aria-pressed", row !== null && rowKey(row) === key) };
}

// The interval of the ratio on a logarithmic scale, from a twentieth to twenty; the mark in the middle is control.
function ratioBar() {
  const range = s("rect", { y: "30%", height: "40%", rx: "3", class: "range" });
  const el = s("svg", { class: "ratio", role: "img" }, s("rect", { class: "track", y: "48%", width: "100%", height: "4%" }),
    range, s("rect", { class: "even", x: "50%", y: "8%", width: "1.5", height: "84%", transform: "translate(-0.75 0)" }));
  const at = (ratio, none) => Math.min(Math.max(ratio === null ? none : 0.5 + Math.log(ratio) / WIDEST / 2, 0), 1);
  const update = (row) => {
    const [lo, hi] = row.interval || [null, null];
    const known = lo !== null || hi !== null;
    attr(el, "visibility", known ? null : "hidden");
    if (!known) return;
    attr(range, "x", `${(at(lo, 0) * 100).toFixed(1)}%`);
    attr(range, "width", `${(Math.max(at(hi, 1) - at(lo, 0), 0.01) * 100).toFixed(1)}%`);
    attr(el, "class", `ratio ${(lo !== null && lo > 1) || (hi !== null && hi < 1) ? "apart" : ""}`);
    attr(el, "aria-label", `${row.differs} control's, 95 % interval`);
  };
  return { el, update };
}
