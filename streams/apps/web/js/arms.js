// Variations: their colours, and their rates with intervals as bars on one scale.

import { attr, h, keyed, s, text } from "./dom.js";
import { count, percent, share } from "./format.js";

// Control is calm, the first variation stands out; further ones take the colours after it.
export function colourOf(view, variation) {
  if (variation === view.control) return "control";
  const others = view.arms.map((arm) => arm.variation).filter((name) => name !== view.control);
  return `arm-${(Math.max(0, others.indexOf(variation)) % 4) + 1}`;
}

// One scale for all arms: wide enough for the rates; an interval that is much wider runs out of it, and fades.
export function scaleOf(view) {
  const rates = view.arms.map((arm) => arm.rate || 0);
  const uppers = view.arms.map((arm) => (arm.interval ? arm.interval[1] : 0));
  const wanted = Math.min(Math.max(...uppers, 0), Math.max(Math.max(...rates, 0) * 4, 0.02));
  return nice(Math.max(wanted, Math.max(...rates, 0) * 1.2, 0.001));
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 3, 4, 5, 8, 10].find((one) => one * power >= value * 0.999);
  return Math.min(1, step * power);
}

export function intervalBar() {
  const range = s("rect", { y: "30%", height: "40%", rx: "3", class: "range" });
  const point = s("rect", { y: "8%", width: "3", height: "84%", rx: "1.5", transform: "translate(-1.5 0)", class: "point" });
  const track = s("rect", { class: "track", y: "48%", width: "100%", height: "4%" });
  const el = s("svg", { class: "interval", role: "img" }, track, range, point);
  const update = (view, arm, scale) => {
    attr(el, "class", `interval ${colourOf(view, arm.variation)}`);
    const at = (value) => `${(Math.min(value / scale, 1) * 100).toFixed(2)}%`;
    const known = arm.rate !== null && arm.interval;
    for (const part of [range, point]) attr(part, "visibility", known ? null : "hidden");
    attr(el, "aria-label", known
      ? `${arm.variation}: ${percent(arm.rate)}, between ${percent(arm.interval[0])} and ${percent(arm.interval[1])}`
      : `${arm.variation}: no data`);
    if (!known) return;
    const width = Math.min(arm.interval[1] / scale, 1) - Math.min(arm.interval[0] / scale, 1);
    attr(range, "x", at(arm.interval[0]));
    attr(range, "width", `${(Math.max(width, 0.004) * 100).toFixed(2)}%`);
    attr(point, "x", at(arm.rate));
  };
  return { el, update };
}

// Small: name, rate, bar. Used on cards.
export function armRows() {
  const el = h("div", { class: "arms" });
  const parts = new Map();
  const update = (view) => {
    const scale = scaleOf(view);
    keyed(el, parts, view.arms, (arm) => arm.variation, armRow);
    for (const arm of view.arms) parts.get(arm.variation).draw(view, arm, scale);
  };
  return { el, update };
}

function armRow() {
  const name = h("span", { class: "name" });
  const rate = h("span", { class: "rate num" });
  const bar = intervalBar();
  const el = h("div", { class: "arm" }, name, bar.el, rate);
  const draw = (view, arm, scale) => {
    attr(name, "class", `name ${colourOf(view, arm.variation)}`);
    text(name, arm.variation);
    text(rate, percent(arm.rate));
    bar.update(view, arm, scale);
  };
  return { el, update: () => {}, draw };
}

// Large: all numbers. Used on a rollout's own page.
export function armTable() {
  const body = h("tbody");
  const low = h("span", {}, "0 %");
  const high = h("span");
  const head = ["Variation", "Share", "Requests", "Failed", "Error rate"].map((one, i) =>
    h("th", { scope: "col", class: i ? "num" : false }, one));
  const el = h("table", { class: "arm-table" },
    h("thead", {}, h("tr", {}, head, h("th", { scope: "col", class: "scale" }, low, h("span", { class: "visually-hidden" }, " to "), high))), body);
  const parts = new Map();
  const update = (view) => {
    const scale = scaleOf(view);
    text(high, percent(scale).replace(".0 ", " "));
    keyed(body, parts, view.arms, (arm) => arm.variation, armTableRow);
    for (const arm of view.arms) parts.get(arm.variation).draw(view, arm, scale);
  };
  return { el, update };
}

function armTableRow() {
  const cells = ["Share", "Requests", "Failed", "Error rate"].map((label) => h("td", { class: "num", "data-label": label }));
  const name = h("th", { scope: "row" });
  const bar = intervalBar();
  const el = h("tr", {}, name, cells, h("td", { class: "bar" }, bar.el));
  const draw = (view, arm, scale) => {
    attr(name, "class", `name ${colourOf(view, arm.variation)}`);
    text(name, arm.variation);
    const shown = [share(arm.share), count(arm.n), count(arm.errors), percent(arm.rate)];
    cells.forEach((cell, i) => text(cell, shown[i]));
    bar.update(view, arm, scale);
  };
  return { el, update: () => {}, draw };
}
