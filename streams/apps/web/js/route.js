// Addresses within the page: #/ · #/rollouts/KEY · #/decisions · #/decisions/ID

export const rolloutLink = (key) => `#/rollouts/${encodeURIComponent(key)}`;
export const decisionLink = (id) => `#/decisions/${encodeURIComponent(id)}`;

export function route() {
  const [page, rest] = location.hash.replace(/^#\/?/, "").split(/\/(.*)/s);
  const name = rest ? decodeURIComponent(rest) : null;
  if (page === "decisions") return { page: "decisions", decision: name };
  return { page: "rollouts", key: page === "rollouts" ? name : null };
}
