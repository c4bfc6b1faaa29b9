// The points behind a rollout's charts: what the server kept, and what came since.

const MOST = 1500;

export function emptyLines() {
  return { t: [], rates: new Map(), evidence: new Map() };
}

export const rowKey = (row) => `${row.guardrail}\n${row.variation}`;

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
    column(lines.rates, arm.variation, lines)[at] = arm.recent_n ? arm.recent_errors / arm.recent_n : null;
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
  const line = evidenceLine(lines, { guardrail: decision.guardrail, variation: decision.variant });
  line.log_e[at] = decision.evidence.log_e;
  line.log_threshold[at] = decision.evidence.log_threshold;
}

function evidenceLine(lines, row) {
  const key = rowKey(row);
  if (!lines.evidence.has(key)) {
    const empty = () => new Array(lines.t.length).fill(null);
    lines.evidence.set(key, { guardrail: row.guardrail, variation: row.variation, log_e: empty(), log_threshold: empty() });
  }
  return lines.evidence.get(key);
}

function column(columns, name, lines) {
  if (!columns.has(name)) columns.set(name, new Array(lines.t.length).fill(null));
  return columns.get(name);
}

// Makes room for a point in order of time, in every column.
function place(lines, t) {
  let at = lines.t.length;
  while (at > 0 && lines.t[at - 1] > t) at -= 1;
  if (at > 0 && lines.t[at - 1] === t) return at - 1;
  const columns = [...lines.rates.values()];
  for (const line of lines.evidence.values()) columns.push(line.log_e, line.log_threshold);
  lines.t.splice(at, 0, t);
  for (const one of columns) one.splice(at, 0, null);
  if (lines.t.length > MOST) {
    lines.t.shift();
    for (const one of columns) one.shift();
    at -= 1;
  }
  return at;
}
