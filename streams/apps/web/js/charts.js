// Two charts of a rollout: evidence rising to its threshold, and error rates by variation.

/* global uPlot */
import { h } from "./dom.js";
import { times } from "./evidence.js";
import { clock, percent } from "./format.js";
import { withGaps } from "./lines.js";
import { colour } from "./theme.js";

const WINDOW_S = 300;
const SHORTEST_S = 30;
const HEIGHT = 210;

// *describe* returns {x, series: [{label, colour, values, dashed}], marks: [{t, colour}], top}; see the two below.
export function chart(label, format, splits) {
  const readout = h("p", { class: "readout num" });
  const holder = h("div", { class: "plot", role: "img", "aria-label": label });
  const el = h("div", { class: "chart" }, readout, holder);
  let plot = null;
  let shape = "";
  let given = null;

  const update = (next) => {
    given = next;
    const wanted = JSON.stringify(next.series.map((one) => [one.label, one.colour, one.dashed]));
    if (!plot || shape !== wanted) rebuild(wanted);
    plot.setData([next.x, ...next.series.map((one) => one.values)]);
    holder.setAttribute("aria-label", `${label}. ${describe(next, format)}`);
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) readout.textContent = describe(next, format);
  };

  function rebuild(wanted) {
    if (plot) plot.destroy();
    shape = wanted;
    const muted = colour("muted");
    const line = colour("line");
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plot = new uPlot({
      width: Math.max(holder.clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: true, range: xRange }, y: { range: (_, low, high) => given.range(low, high) } },
      axes: [
        { ...axis, size: 30, values: (_, at) => at.map((t) => clock(t * 1000, { millis: false })), space: 70 },
        { ...axis, size: 62, values: (_, at) => at.map(format), ...(splits ? { splits: (_, __, low, high) => splits(low, high) } : {}) },
      ],
      series: [{}, ...given.series.map((one) => ({
        label: one.label,
        stroke: colour(one.colour),
        width: one.dashed ? 1.5 : 2,
        dash: one.dashed ? [6, 5] : undefined,
        points: { show: (u) => u.data[0].length < 3, size: 6, fill: colour(one.colour) },
      }))],
      hooks: { draw: [drawMarks], setCursor: [readCursor] },
    }, [[], ...given.series.map(() => [])], holder);
  }

  function drawMarks(u) {
    for (const mark of given.marks) {
      const x = u.valToPos(mark.t, "x", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      u.ctx.save();
      u.ctx.fillStyle = colour(mark.colour);
      u.ctx.fillRect(Math.round(x) - 1, u.bbox.top, 2, u.bbox.height);
      u.ctx.restore();
    }
  }

  function readCursor(u) {
    const at = u.cursor.idx;
    readout.textContent = at === null || at === undefined ? describe(given, format) : describe(given, format, at);
  }

  new ResizeObserver(() => {
    if (plot && holder.clientWidth) plot.setSize({ width: holder.clientWidth, height: HEIGHT });
  }).observe(holder);

  return { el, update, repaint: () => given && (rebuild(shape), update(given)) };
}

function xRange(u) {
  const x = u.data[0];
  if (!x.length) return [0, 1];
  const last = x[x.length - 1];
  return [Math.min(Math.max(x[0], last - WINDOW_S), last - SHORTEST_S), last];
}

// The values at a point, or the newest that each line has.
function describe(given, format, at = null) {
  const said = given.series.filter((one) => !one.dashed).map((one) => {
    const value = at === null ? one.values.findLast((v) => v !== null && v !== undefined) : one.values[at];
    return `${one.label} ${value === null || value === undefined ? "no data" : format(value)}`;
  });
  const t = at === null ? null : given.x[at];
  return [t === null ? null : clock(t * 1000, { millis: false }), ...said].filter(Boolean).join(" · ");
}

// Whole powers of ten: 1×, 10×, 100×.
function decades(low, high) {
  const step = Math.max(1, Math.ceil((high - low) / Math.LN10 / 6)) * Math.LN10;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9; at += step) found.push(at);
  return found;
}

export const evidenceChart = () => chart("Evidence over time", times, decades);
export const rateChart = () => chart("Error rate by variation", percent, null);

export function evidenceShown(lines, lead, marks, colours) {
  const segment = lead.segment || "";
  const rows = [...lines.evidence.values()].filter((line) => line.guardrail === lead.guardrail && (line.segment || "") === segment);
  const tops = rows.flatMap((line) => line.log_threshold.filter((v) => v !== null));
  const top = Math.max(...tops, 1);
  const [x, values] = withGaps(lines.t, rows.flatMap((line) => [line.log_e, line.log_threshold]));
  return {
    x,
    series: rows.flatMap((line, i) => [
      { label: segment ? `${line.variation} in ${segment}` : line.variation, colour: colours(line.variation), values: values[2 * i] },
      { label: "acts at", colour: "kill", values: filled(values[2 * i + 1]), dashed: true },
    ]),
    marks,
    range: (low, high) => [Math.max(Math.min(low ?? 0, 0), -top) - 0.2, Math.max(top, Math.min(high ?? 0, top * 2)) * 1.12],
  };
}

// The threshold stands between the moments that tell it.
function filled(values) {
  let last = values.find((v) => v !== null) ?? null;
  return values.map((v) => (last = v ?? last));
}

export function ratesShown(lines, marks, colours) {
  const names = [...lines.rates.keys()];
  const [x, values] = withGaps(lines.t, [...lines.rates.values()]);
  return {
    x,
    series: names.map((variation, i) => ({ label: variation, colour: colours(variation), values: values[i] })),
    marks,
    range: (_, high) => [0, Math.min(1, Math.max((high ?? 0) * 1.15, 0.01))],
  };
}
