// Numbers and times as people read them; the same rules as in the sentences that come from the server.

const counts = new Intl.NumberFormat("en-US");

export const count = (n) => counts.format(Math.round(n));

export function percent(proportion) {
  if (proportion === null || proportion === undefined) return "no data";
  const value = proportion * 100;
  if (value === 0 || value === 100) return `${value} %`;
  if (value >= 99.95) return `${Math.min(value, 99.99).toFixed(2)} %`;
  return value >= 0.95 ? `${value.toFixed(1)} %` : `${Number(value.toPrecision(2))} %`;
}

export const share = (proportion) =>
  proportion === null || proportion === undefined ? "–" : `${Number((proportion * 100).toPrecision(4))} %`;

export const pValue = (p) => (p < 0.0001 ? "p < 0.0001" : `p = ${Number(p.toPrecision(2))}`);

export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 0.9995) return `${Math.round(ms)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function clock(rfc3339, { millis = true } = {}) {
  const at = new Date(rfc3339);
  const two = (n) => String(n).padStart(2, "0");
  const plain = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return millis ? `${plain}.${String(at.getMilliseconds()).padStart(3, "0")}` : plain;
}

// Whole seconds, so that it does not flicker.
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 1) return "just now";
  return seconds < 120 ? `${seconds} s ago` : `${duration(ms)} ago`;
}

export const titled = (word) => word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");
