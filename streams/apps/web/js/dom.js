// Making and changing elements. Text only ever enters as text, so no name can become markup.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(el, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

// Touches the document only where something changed: what is unchanged keeps its focus and its selection.
export function text(el, value) {
  if (el.textContent !== value) el.textContent = value;
}

// A sentence with numbers in it: a number stays on the line of its unit.
export function sentence(el, value) {
  text(el, value.replace(/(\d) (%|ms|s|min|h)(?![a-z])/g, "$1\u00a0$2"));
}

export function attr(el, name, value) {
  if (value === null || value === false) el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value);
}

export function show(el, on) {
  if (el.hidden === on) el.hidden = !on;
}

// Keeps the children of a list in step with its items; each item keeps its element for as long as it is there.
export function keyed(parent, parts, items, keyOf, make) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, part] of parts) {
    if (!wanted.has(key)) {
      part.el.remove();
      parts.delete(key);
    }
  }
  let before = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let part = parts.get(key);
    if (!part) parts.set(key, (part = make(item)));
    if (part.el === before) before = before.nextSibling;
    else parent.insertBefore(part.el, before);
    part.update(item);
  }
}
