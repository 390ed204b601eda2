// The key below the map: what its marks and colours mean.

import * as core from "./core.js";
import { h, s, swatch } from "./dom.js";
import { labelName } from "./samples.js";

/** @import { Child } from "./dom.js" */
/** @import { Mount } from "./types.js" */

const HATCH = "M1 15 L8 1 M7 15 L14 1 M13 15 L18 5";

/**
 * @param {Element | null} icon
 * @param {Child} words
 */
const item = (icon, words) => h("span", { class: "item" }, icon, words);

/**
 * @param {number} width
 * @param {Element[]} shapes
 */
function icon(width, ...shapes) {
  const frame = { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true" };
  return s("svg", frame, ...shapes);
}

/**
 * @param {number} cx
 * @param {number} r
 * @param {number} width
 */
const ring = (cx, r, width) => s("circle", { cx, cy: 8, r, class: "ring", "stroke-width": width });

/** @param {Mount} mount */
export function showKey(mount) {
  const { meta } = mount.held;
  const { points } = mount.panels[0];
  const groups = [markItems(mount), labelItems(mount), rampItems(mount), regionItems(mount)];
  const part = `${core.group(meta.n)} of ${core.group(meta.total)} points shown. `;
  const shown = meta.n < meta.total ? part : points.path ? "" : `${core.group(meta.n)} points. `;
  const end = h("span", { class: "item end", text: `${shown}Map distances are distorted.` });
  mount.ui.key.replaceChildren(...groups.flat(), end);
}

/** @param {Mount} mount */
function markItems({ held: { meta }, panels, state }) {
  if (panels[0].points.path) {
    const moved = icon(14, ring(7, 5, 1), s("circle", { cx: 7, cy: 8, r: 2.6, class: "full" }));
    const ghost = s("circle", { cx: 5, cy: 8, r: 4, class: "ring ghost" });
    const way = s("line", { x1: 9, x2: 14, y1: 8, y2: 8, class: "ring", "stroke-width": 1.75 });
    return [
      item(moved, meta.target === null ? "moved to another cluster" : `moved into cluster ${meta.target}`),
      item(icon(26, s("path", { d: "M0 8 L26 7.2 L26 8.8 Z", class: "full soft" })), "its path"),
      item(h("b", { text: "+5" }), "net change of a cluster"),
      item(icon(26, ghost, way, ring(19, 5, 2)), "pinned, and its ghost"),
    ];
  }
  if (state.options.colour !== "cluster") return [];
  const size = h("b", { text: core.group(Math.max(...meta.sizes)) });
  return [item(swatch(0), "colour: cluster"), item(size, "samples in a cluster")];
}

/** @param {Mount} mount */
function labelItems({ panels, state }) {
  if (state.options.colour !== "label") return [];
  return Array.from({ length: 10 }, (_, v) => item(swatch(v), labelName(panels[0], v)));
}

/** @param {Mount} mount */
function rampItems({ held: { meta }, state: { options, theme } }) {
  const ramp = h("i", { class: "ramp", style: `background: linear-gradient(to right, ${theme.ramp.join(",")})` });
  if (!(options.colour in meta.ramps)) return [];
  const [low, high, note] = meta.ramps[options.colour].map((words) =>
    words
      .replace("{end}", core.brief(meta.end))
      .replace("{paths}", core.group(meta.paths))
      .replace("{total}", core.group(meta.total)),
  );
  return [item(null, low), item(ramp, high), ...(note ? [item(null, note)] : [])];
}

/** @param {Mount} mount */
function regionItems({ held: { meta }, state: { options } }) {
  const { tint, edges, trust } = options;
  const items = [];
  if (!meta.raster) return [];
  if (tint) items.push(item(null, "tint: the winning cluster, strong where its margin is large"));
  else if (edges) items.push(item(null, "line: the winner changes"));
  const hatch = icon(18, s("path", { d: HATCH, class: "ring", "stroke-width": 1 }));
  if (trust) items.push(item(hatch, "the picture is unreliable"));
  return items;
}
