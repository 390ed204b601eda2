// Cluster -> cluster counts of the moved samples, as a table, or as the largest of them where there are many clusters.

import { LARGEST, MANY } from "./bars.js";
import * as core from "./core.js";
import { attribute, h, swatch, text } from "./dom.js";

/** @import { Flow } from "./types.js" */
/** @typedef {ReturnType<typeof create>} FlowTable */

/** @param {(from: number, to: number) => void} choose */
export function create(choose) {
  const side = h("span", { class: "aside" });
  const body = h("div", { class: "flow" });
  const head = h("div", { class: "head" }, h("h4", { text: "Flow, cluster \u2192 cluster" }), side);
  const table = {
    root: h("section", { "data-testid": "map-flow" }, head, body),
    side,
    body,
    choose,
    k: 0,
    cells: /** @type {HTMLButtonElement[]} */ ([]),
    shown: /** @type {number[]} */ ([]), // the count that each cell says
    sums: /** @type {HTMLElement[]} */ ([]),
  };
  body.onkeydown = (event) => walk(table, event);
  return table;
}

/**
 * @param {FlowTable} table
 * @param {KeyboardEvent} event
 */
function walk({ cells, k }, event) {
  /** @type {Record<string, number>} */
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: k, ArrowUp: -k };
  const by = steps[event.key];
  const at = cells.indexOf(/** @type {HTMLButtonElement} */ (event.target));
  if (by === undefined || at < 0) return;
  event.preventDefault();
  for (let i = at + by; i >= 0 && i < cells.length; i += by) {
    if (!cells[i].disabled) return cells[i].focus();
  }
}

/**
 * @param {FlowTable} table
 * @param {number} k
 */
export function setup(table, k) {
  const { body, choose } = table;
  const named = (/** @type {string} */ name, /** @type {string} */ role, /** @type {number} */ cluster) =>
    h("span", { class: name, role }, swatch(cluster), String(cluster));
  Object.assign(table, { k, cells: [], shown: [], sums: [] });
  body.replaceChildren();
  if (k > MANY) return;
  body.style.setProperty("--k", String(k));
  const top = Array.from({ length: k }, (_, c) => named("top", "columnheader", c));
  body.append(h("span"), ...top, h("span", { class: "top sum", text: "sum" }));
  for (let a = 0; a < k; a++) {
    const cells = Array.from({ length: k }, (_, b) => buildCell(a, b, choose));
    const sum = h("span", { class: "sum" });
    body.append(named("left", "rowheader", a), ...cells, sum);
    table.cells.push(...cells);
    table.sums.push(sum);
  }
}

/**
 * @param {number} a
 * @param {number} b
 * @param {(from: number, to: number) => void} choose
 */
function buildCell(a, b, choose) {
  const more = { tabindex: -1, "data-from": a, "data-to": b, onclick: () => choose(a, b) };
  const cell = h("button", { type: "button", ...more });
  if (a === b) cell.textContent = "\u2013";
  cell.disabled = true;
  return cell;
}

/**
 * @param {FlowTable} table
 * @param {Flow} flow
 */
export function update(table, flow) {
  const { side, sums, k } = table;
  const { counts, largest } = flow;
  text(side, largest ? `largest: ${largest.from} \u2192 ${largest.to}, ${core.group(largest.count)}` : "none moved");
  if (k > MANY) return list(table, counts);
  let first = true;
  for (let a = 0; a < k; a++) {
    let sum = 0;
    for (let b = 0; b < k; b++) {
      if (a === b) continue;
      const count = counts[a * k + b];
      sum += count;
      showCell(table, flow, a, b, first);
      if (count) first = false;
    }
    text(sums[a], core.group(sum));
  }
}

/**
 * @param {FlowTable} table
 * @param {Flow} flow
 * @param {number} a
 * @param {number} b
 * @param {boolean} first the first cell with a count is the one that Tab reaches
 */
function showCell({ cells, shown, k }, { counts, largest }, a, b, first) {
  const at = a * k + b;
  const cell = cells[at];
  const count = counts[at];
  if (shown[at] !== count) {
    shown[at] = count;
    cell.textContent = count ? core.group(count) : "";
    cell.disabled = !count;
    if (count) attribute(cell, "aria-label", `${count} from cluster ${a} to ${b}: select`);
  }
  cell.tabIndex = count && first ? 0 : -1;
  cell.style.setProperty("--share", count && largest ? (count / largest.count).toFixed(3) : "0");
  cell.classList.toggle("largest", Boolean(count) && a === largest?.from && b === largest.to);
}

/**
 * @param {FlowTable} table
 * @param {Uint32Array} counts
 */
function list({ body, choose, k }, counts) {
  const order = [...counts.keys()].filter((cell) => counts[cell]);
  order.sort((a, b) => counts[b] - counts[a]);
  const lines = order.slice(0, LARGEST).map((cell) => {
    const a = Math.floor(cell / k);
    const b = cell % k;
    const number = h("span", { text: core.group(counts[cell]) });
    const shell = { type: "button", class: "line", onclick: () => choose(a, b) };
    return h("button", shell, swatch(a), `${a} \u2192 ${b}`, swatch(b), number);
  });
  body.replaceChildren(...lines);
  body.classList.add("list");
}
