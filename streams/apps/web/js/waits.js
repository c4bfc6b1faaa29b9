// Why a rollout has not gone on: its closed gates, and the approvals that people can give here.

import { h, keyed, sentence, show } from "./dom.js";
import { askOverride } from "./override.js";

export function waitList(viewNow) {
  const list = h("ul", { class: "waits" });
  const asked = h("div", { class: "actions" });
  const el = h("section", { class: "panel", "aria-labelledby": "h-waits" },
    h("h2", { id: "h-waits" }, "Why it has not advanced"), list, asked);
  const lines = new Map();
  const buttons = new Map();

  function line() {
    const item = h("li");
    return { el: item, update: (one) => sentence(item, one.said) };
  }

  function button(group) {
    const ask = () => askOverride(viewNow(), "approve", group);
    return { el: h("button", { type: "button", class: "quiet", onclick: ask }, `Approve for ${group}`), update: () => {} };
  }

  function update(view) {
    // The place is the key: a sentence whose numbers change stays where it is.
    keyed(list, lines, view.waits.map((said, at) => ({ said, at })), (one) => one.at, line);
    const open = Object.keys(view.approvals).filter((group) => !view.approvals[group]);
    keyed(asked, buttons, open, (group) => group, button);
    show(asked, open.length > 0);
    show(el, view.waits.length > 0);
  }

  return { el, update };
}
