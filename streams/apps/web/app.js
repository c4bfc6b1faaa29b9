// Puts the page together: what is shown follows the address and the state, once per frame at most.

import { banners } from "./js/banner.js";
import { decisionsView } from "./js/decisions.js";
import { detailView } from "./js/detail.js";
import { attr, h, show, text } from "./js/dom.js";
import { emptyView, listView, mostUrgent } from "./js/list.js";
import { connect } from "./js/live.js";
import { route } from "./js/route.js";
import { changed, onChange, state } from "./js/state.js";
import { startTheme } from "./js/theme.js";

const view = document.getElementById("view");
const live = document.getElementById("live");
const updateBanners = banners(document.getElementById("banners"));
const list = listView();
const detail = detailView();
const gone = h("p", { class: "empty" });
const empty = emptyView();
const loading = h("p", { class: "empty" }, "Reading what the guardian published…");
const board = h("div", { class: "board" }, list.el, detail.el, gone);
const decisions = decisionsView();
view.append(loading, empty, board, decisions.el);

startTheme(document.getElementById("theme"));
onChange(render);
addEventListener("hashchange", () => {
  scrollTo(0, 0);
  changed();
});
setInterval(changed, 1000); // "12 s ago" goes on though nothing happens
connect();
render();

function render() {
  const { page, key, decision, undo } = route();
  const none = state.loaded && !state.rollouts.size;
  const onBoard = page === "rollouts" && state.rollouts.size > 0;
  show(loading, !state.loaded && !state.rollouts.size);
  show(empty, page === "rollouts" && none);
  show(board, onBoard);
  show(decisions.el, page === "decisions" && state.loaded);
  updateLive();
  updateBanners();
  for (const link of document.querySelectorAll("nav a")) attr(link, "aria-current", link.dataset.page === page ? "page" : null);
  if (onBoard) updateBoard(key);
  if (page === "decisions") decisions.update(decision, undo);
  document.title = [titleOf(page, key), "Rollout Guardian"].filter(Boolean).join(" · ");
}

function updateBoard(key) {
  // Wide pages show one rollout beside the list even before one is chosen; narrow ones show the list.
  const shown = key || mostUrgent();
  const known = state.rollouts.has(shown);
  attr(board, "data-chosen", key ? "yes" : "no");
  list.update(shown);
  show(detail.el, known);
  show(gone, !known);
  text(gone, known ? "" : `There is no rollout ${shown} any more.`);
  if (known) detail.update(shown);
}

function updateLive() {
  const kind = !state.live ? "lost" : state.feed.ok ? "ok" : "waiting";
  attr(live, "class", `live ${kind}`);
  text(live.lastElementChild, { ok: "Live", waiting: "Waiting for Kafka", lost: state.loaded ? "Reconnecting…" : "Connecting…" }[kind]);
}

function titleOf(page, key) {
  if (page === "decisions") return "Decisions";
  return key ? detail.title() : null;
}
