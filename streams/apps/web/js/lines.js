// The points behind a rollout's charts: what the server kept, and what came since.

const MOST = 1500;
const SILENCE_MS = 20000;

export function emptyLines() {
  return { t: [], rates: new Map(), evidence: new Map() };
}

export const rowKey = (row) => `${row.guardrail}\n${row.variation}\n${row.segment || ""}`;

export function fromServer(given) {
  const lines = emptyLines();
  lines.t = given.t;
  for (const line of given.rates) lines.rates.set(line.variation, line.rate);
  for (const line of given.evidence) lines.evidence.set(rowKey(line), { ...line });
  return lines;
}

export function addView(lines, view) {
  const at = place(lines, Date.parse(view.at));
  for (const arm of view.arms) {
    rateLine(lines, arm.variation)[at] = arm.recent_n ? arm.recent_errors / arm.recent_n : null;
  }
  for (const row of view.guardrails) {
    const line = evidenceLine(lines, row);
    line.log_e[at] = row.log_e;
    line.log_threshold[at] = row.log_threshold || null;
  }
}

// The accounts are emptied with a decision, so only the decision itself shows the evidence that it had.
export function addDecision(lines, decision) {
  if (!decision.evidence) return;
  const at = place(lines, Date.parse(decision.decided_at));
  for (const values of columns(lines)) values[at] ??= values[at - 1] ?? null; // all else is as it was just before
  const line = evidenceLine(lines, { guardrail: decision.guardrail, variation: decision.variant, segment: decision.evidence.segment });
  line.log_e[at] = decision.evidence.log_e;
  line.log_threshold[at] = decision.evidence.log_threshold;
}

function evidenceLine(lines, row) {
  const key = rowKey(row);
  if (!lines.evidence.has(key)) {
    const empty = () => new Array(lines.t.length).fill(null);
    lines.evidence.set(key, { guardrail: row.guardrail, variation: row.variation, segment: row.segment || "", log_e: empty(), log_threshold: empty() });
  }
  return lines.evidence.get(key);
}

function rateLine(lines, name) {
  if (!lines.rates.has(name)) lines.rates.set(name, new Array(lines.t.length).fill(null));
  return lines.rates.get(name);
}

// Makes room for a point in order of time, in every column.
function place(lines, t) {
  let at = lines.t.length;
  while (at > 0 && lines.t[at - 1] > t) at -= 1;
  if (at > 0 && lines.t[at - 1] === t) return at - 1;
  lines.t.splice(at, 0, t);
  for (const values of columns(lines)) values.splice(at, 0, null);
  if (lines.t.length > MOST) {
    lines.t.shift();
    for (const values of columns(lines)) values.shift();
    at -= 1;
  }
  return at;
}

const columns = (lines) =>
  [...lines.rates.values()].concat([...lines.evidence.values()].flatMap((line) => [line.log_e, line.log_threshold]));

// Where nothing was told for long, a line must not pretend to know: a point without values parts it.
export function withGaps(t, columns) {
  const x = [];
  const parted = columns.map(() => []);
  t.forEach((at, i) => {
    if (i && at - t[i - 1] > SILENCE_MS) {
      x.push((at + t[i - 1]) / 2000);
      parted.forEach((values) => values.push(null));
    }
    x.push(at / 1000);
    parted.forEach((values, n) => values.push(columns[n][i] ?? null));
  });
  return [x, parted];
}
