// Addresses within the page: #/ · #/rollouts/KEY · #/decisions · #/decisions/ID · #/decisions/ID/undo

export const rolloutLink = (key) => `#/rollouts/${encodeURIComponent(key)}`;
export const decisionLink = (id) => `#/decisions/${encodeURIComponent(id)}`;

export function route() {
  const [page, rest] = location.hash.replace(/^#\/?/, "").split(/\/(.*)/s);
  // An id is written with its "/" encoded, so that what follows one is never a part of it.
  const [, id, undo] = (rest || "").match(/^(.*?)(\/undo)?$/s);
  const name = rest ? decodeURIComponent(page === "decisions" ? id : rest) : null;
  if (page === "decisions") return { page: "decisions", decision: name, undo: Boolean(undo) };
  return { page: "rollouts", key: page === "rollouts" ? name : null };
}
