// All that the page knows. Events change it; whoever shows it is called once per frame.

export const state = {
  rollouts: new Map(),
  decisions: new Map(),
  feed: { ok: false, why: "connecting" },
  live: false,
  loaded: false,
  skewMs: 0,
};

const KEPT = 1000;
const listeners = new Set();
const early = new Map(); // receipts whose decision is not known yet
let asked = false;

export const now = () => Date.now() + state.skewMs;
export const keyOf = (decision) => `${decision.environment}|${decision.flag_key}`;

export function onChange(listener) {
  listeners.add(listener);
}

export function changed() {
  if (asked) return;
  asked = true;
  // A hidden tab has no frames: it still keeps its title and its banners right.
  const frame = document.hidden ? (run) => setTimeout(run, 500) : requestAnimationFrame;
  frame(() => {
    asked = false;
    for (const listener of listeners) listener();
  });
}

export function takeDecision(decision) {
  const id = decision.decision_id;
  const receipts = [...(decision.receipts || [])];
  for (const receipt of [...(state.decisions.get(id)?.receipts || []), ...(early.get(id) || [])]) addReceipt(receipts, receipt);
  early.delete(id);
  state.decisions.set(decision.decision_id, { ...decision, receipts });
  while (state.decisions.size > KEPT) state.decisions.delete(state.decisions.keys().next().value);
}

export function takeReceipt(receipt) {
  const decision = state.decisions.get(receipt.decision_id);
  if (!decision) {
    early.set(receipt.decision_id, [...(early.get(receipt.decision_id) || []), receipt]);
    if (early.size > KEPT) early.delete(early.keys().next().value);
    return;
  }
  const receipts = [...decision.receipts];
  addReceipt(receipts, receipt);
  state.decisions.set(receipt.decision_id, { ...decision, receipts });
}

function addReceipt(receipts, receipt) {
  if (receipts.some((one) => one.receipt_id === receipt.receipt_id)) return;
  receipts.push(receipt);
  receipts.sort((a, b) => (a.at < b.at ? -1 : 1));
}

// Newest first; of one rollout where a key is given.
export function decisionsOf(key = null) {
  return [...state.decisions.values()]
    .filter((one) => key === null || keyOf(one) === key)
    .sort((a, b) => (a.decided_at < b.decided_at ? 1 : -1));
}
