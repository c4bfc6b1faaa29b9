// What a person wants of a rollout: always with a name and a reason, and judged like anything else.

import { h } from "./dom.js";
import { titled } from "./format.js";

const SAYS = {
  kill: "Everybody gets control at once. It stays so until somebody resumes it.",
  pause: "The share stays where it is. Guardrails go on watching.",
  resume: "The rollout goes on; guardrails watch it as before.",
  approve: "The stage that stands may be left, as far as this group is asked. It counts for this stage alone.",
};

export function askOverride(view, action, group = "") {
  if (!view) return;
  const dialog = document.getElementById("override");
  const others = view.arms.map((arm) => arm.variation).filter((name) => name !== view.control);
  const variation = h("select", { name: "variation" }, others.map((name) => h("option", {}, name)));
  const by = h("input", { name: "by", required: true, maxlength: 200, autocomplete: "name", value: localStorage.getItem("by") || "" });
  const reason = h("textarea", { name: "reason", required: true, maxlength: 1000, rows: 2 });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const send = h("button", { type: "submit", class: action === "kill" ? "danger" : "primary" }, titled(action));
  const id = `page-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  const form = h("form", { method: "dialog" },
    h("h2", { id: "override-title" }, `${titled(action)} ${view.flag_key} in ${view.environment}?`),
    h("p", {}, SAYS[action]),
    group ? h("p", {}, `In the name of ${group}.`) : null,
    action === "kill" && others.length > 1 ? h("label", {}, "Variation", variation) : null,
    h("label", {}, "Your name", by), h("label", {}, "Why", reason), problem,
    h("div", { class: "actions" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"), send));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    problem.hidden = true;
    localStorage.setItem("by", by.value);
    const wish = { action, by: by.value, reason: reason.value, id, group, variation: action === "kill" ? variation.value : "" };
    const failed = await post(`/api/rollouts/${encodeURIComponent(view.key)}/override`, wish);
    send.disabled = false;
    if (failed) {
      problem.textContent = failed;
      problem.hidden = false;
      return;
    }
    dialog.close();
    const follows = action === "approve" ? "It counts in a moment." : "The decision follows in a moment.";
    toast(`Sent: ${action} of ${view.flag_key}. ${follows}`);
  });
  dialog.replaceChildren(form);
  dialog.showModal();
  (by.value ? reason : by).focus();
}

async function post(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (answer.ok) return null;
    const { detail } = await answer.json().catch(() => ({}));
    if (Array.isArray(detail)) return detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
    return detail || `HTTP ${answer.status}`;
  } catch (_) {
    return "The guardian was not reached; try again.";
  }
}

let timer = null;

function toast(said) {
  const el = document.getElementById("toast");
  el.textContent = said;
  el.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (el.hidden = true), 6000);
}
