// What became of kills that were decided and not carried out (shadow mode).

import { h, keyed, sentence, show } from "./dom.js";

export function hindsightList() {
  const list = h("ul", { class: "waits" });
  const el = h("section", { class: "panel", "aria-labelledby": "h-hindsight" },
    h("h2", { id: "h-hindsight" }, "In hindsight"), list);
  const lines = new Map();

  function line() {
    const item = h("li");
    return { el: item, update: (one) => sentence(item, one.text) };
  }

  function update(view) {
    keyed(list, lines, view.hindsight.map((one, at) => ({ ...one, at })), (one) => `${one.decision_id} ${one.at}`, line);
    show(el, view.hindsight.length > 0);
  }

  return { el, update };
}
