// The connection: a snapshot first, then events; after a break what was missed, or everything anew.

import { changed, state, takeDecision, takeReceipt } from "./state.js";

const listeners = new Set();
let pending = null;
let again = false;
const touched = new Set(); // rollouts that the stream told of since the last snapshot was asked for

export function onEvent(listener) {
  listeners.add(listener);
}

export async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `HTTP ${answer.status}`);
  return answer.json();
}

export function connect() {
  const source = new EventSource("/api/events");
  const on = (kind, take) =>
    source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      take(data);
      for (const listener of listeners) listener(kind, data);
      changed();
    });
  on("hello", (hello) => {
    state.skewMs = hello.now_ms - Date.now();
    state.live = true;
    load();
  });
  on("resync", load);
  on("rollout", (view) => {
    touched.add(view.key);
    state.rollouts.set(view.key, newer(view));
  });
  on("gone", ({ key }) => {
    touched.add(key);
    state.rollouts.delete(key);
  });
  on("decision", takeDecision);
  on("receipt", takeReceipt);
  on("feed", (feed) => (state.feed = feed));
  source.onerror = () => {
    state.live = false;
    changed();
    // The browser comes back by itself, but not after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

// Everything anew; asked for again meanwhile, once more after it, and never in a rush.
async function load() {
  if (pending) {
    again = true;
    return;
  }
  touched.clear();
  pending = (async () => {
    try {
      const [rollouts, decisions, feed] = await Promise.all([
        get("/api/rollouts"),
        get("/api/decisions?limit=200"),
        get("/api/feed"),
      ]);
      takeSnapshot(rollouts);
      decisions.reverse().forEach(takeDecision);
      state.feed = feed;
      state.loaded = true;
    } catch (error) {
      state.feed = { ok: false, why: String(error.message || error) };
      again = true;
    }
    changed();
    for (const listener of listeners) listener("loaded", null);
    await new Promise((done) => setTimeout(done, 1500));
    pending = null;
    if (again) {
      again = false;
      load();
    }
  })();
}

// Snapshot and stream travel apart: whichever is newer stays, and what the stream told meanwhile is right.
function takeSnapshot(rollouts) {
  const names = new Set(rollouts.map((view) => view.key));
  for (const key of state.rollouts.keys()) if (!names.has(key) && !touched.has(key)) state.rollouts.delete(key);
  for (const view of rollouts) {
    if (state.rollouts.has(view.key) || !touched.has(view.key)) state.rollouts.set(view.key, newer(view));
  }
}

function newer(view) {
  const known = state.rollouts.get(view.key);
  return known && known.at > view.at ? known : view;
}
