// Bars of a soft assignment, one a cluster, with a tick for the clean value.

import { h, named, text } from "./dom.js";

/** @typedef {ReturnType<typeof create>} Bars */
/** @typedef {ReturnType<typeof buildRow>} Row */

export const MANY = 12; // beyond so many clusters bars and flow show the largest only
export const LARGEST = 10; // so many of them

/**
 * @param {string} testid
 * @param {string} title
 */
export function create(testid, title) {
  const side = h("span", { class: "aside" });
  const list = h("div", { class: "bars", role: "list" });
  const head = h("div", { class: "head" }, h("h4", { text: title }), side);
  return { root: h("section", { "data-testid": testid }, head, list), side, list, rows: /** @type {Row[]} */ ([]) };
}

function buildRow() {
  const name = h("span", { class: "name" });
  const bar = h("i", { class: "bar" });
  const tick = h("i", { class: "tick" });
  const value = h("span", { class: "value" });
  const track = h("div", { class: "track" }, bar, tick);
  return {
    root: h("div", { class: "row", role: "listitem" }, name, track, value),
    name,
    bar,
    tick,
    value,
    cluster: -1,
  };
}

/**
 * @param {Bars} bars
 * @param {number[]} p
 * @param {number[] | null} clean
 * @param {string} hint
 */
export function update({ side, list, rows }, p, clean, hint) {
  text(side, hint);
  let order = p.map((_, c) => c);
  if (p.length > MANY) {
    const larger = (/** @type {number} */ c) => Math.max(p[c], clean?.[c] ?? 0);
    order = order.sort((a, b) => larger(b) - larger(a)).slice(0, LARGEST);
  }
  while (rows.length > order.length) rows.pop()?.root.remove();
  while (rows.length < order.length) {
    const row = buildRow();
    list.append(row.root);
    rows.push(row);
  }
  order.forEach((c, i) => {
    showRow(rows[i], c, p[c], clean ? clean[c] : null);
  });
}

/**
 * @param {Row} row
 * @param {number} cluster
 * @param {number} p
 * @param {number | null} clean
 */
function showRow(row, cluster, p, clean) {
  if (row.cluster !== cluster) {
    row.cluster = cluster;
    named(row.name, cluster, String(cluster));
    row.bar.style.setProperty("--hue", `var(--hue-${cluster % 10})`);
    row.bar.style.setProperty("--edge", `var(--edge-${cluster % 10})`);
  }
  row.bar.style.width = `${(p * 100).toFixed(2)}%`;
  row.bar.hidden = p < 0.004;
  row.tick.hidden = clean === null || clean < 0.02;
  if (clean !== null) row.tick.style.left = `${(clean * 100).toFixed(2)}%`;
  text(row.value, p.toFixed(2));
  row.value.classList.toggle("some", p >= 0.005);
}
