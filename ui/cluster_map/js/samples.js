// What is known of a panel's samples: where each is at the dialled strength, its cluster, its values.

import * as core from "./core.js";

/** @import { Colour, Moment, Panel, Paths, Point } from "./types.js" */

const UNIT = 65535; // positions travel as parts of it

/**
 * What the dial says of this panel, until the dial or the data change.
 * @param {Panel} panel
 */
export function momentOf(panel) {
  panel.moment ??= readDial(panel);
  return panel.moment;
}

/**
 * @param {Panel} panel
 * @returns {Moment}
 */
function readDial({ mount, held: { meta, geometry }, points: { path, m, k } }) {
  const { strength } = mount.state;
  if (!path) return { strength, k: 0, t: 0, later: 0, q: 0, moved: 0, noise: 0, flow: null };
  const at = core.stepOf(meta.strengths, strength);
  const q = core.threshold(strength, meta.end);
  const moved = core.countUpTo(path.smallest, q);
  const noise = geometry.noise ? core.countUpTo(geometry.noise, q) : 0;
  return { strength, ...at, q, moved, noise, flow: core.flow(path.clusters, m, k, moved, at.later) };
}

/**
 * The row of a base point.
 * @param {Panel} panel
 * @param {number} i
 */
export const rowAt = ({ points: { rows } }, i) => (rows ? rows[i] : i);

/**
 * Where a base point is, in units of the square that holds all.
 * @param {Panel} panel
 * @param {number} i
 * @returns {Point}
 */
export const baseAt = ({ held: { geometry } }, i) => [geometry.xy[2 * i] / UNIT, geometry.xy[2 * i + 1] / UNIT];

/**
 * Where an attacked sample is at a step.
 * @param {Paths} path
 * @param {number} step
 * @param {number} j
 * @returns {Point}
 */
export function stepAt({ xy, rows }, step, j) {
  const at = 2 * (step * rows.length + j);
  return [xy[at] / UNIT, xy[at + 1] / UNIT];
}

/**
 * Where an attacked sample is between two steps.
 * @param {Paths} path
 * @param {Moment} moment
 * @param {number} j
 * @returns {Point}
 */
export function pathAt({ xy, rows }, { k, t }, j) {
  const a = 2 * (k * rows.length + j);
  const b = 2 * ((k + 1) * rows.length + j);
  return [(xy[a] + (xy[b] - xy[a]) * t) / UNIT, (xy[a + 1] + (xy[b + 1] - xy[a + 1]) * t) / UNIT];
}

/**
 * What the page says of a pinned row that is not among the drawn ones.
 * @param {Panel} panel
 * @param {number} row
 */
function loneAt({ held: { parts }, number }, row) {
  return parts.lone?.row === row ? parts.lone.places[number] : null;
}

/**
 * The path that came with the pin's detail, for a row outside the drawn paths.
 * @param {Panel} panel
 * @param {number} row
 */
export function pinPath({ held: { parts, extra }, points }, row) {
  return points.path && parts.pin?.row === row && points.rowToPath[row] < 0 ? (extra["pin.xy"] ?? null) : null;
}

/**
 * Where a row is now; null where it is not drawn.
 * @param {Panel} panel
 * @param {number} row
 * @returns {Point | null}
 */
export function placeOf(panel, row) {
  const { points } = panel;
  const j = points.rowToPath[row];
  if (points.path && j >= 0) return pathAt(points.path, momentOf(panel), j);
  const own = pinPath(panel, row);
  if (own) {
    const { k, t } = momentOf(panel);
    const [x0, y0, x1, y1] = own.subarray(2 * k, 2 * k + 4);
    return [x0 + (x1 - x0) * t, y0 + (y1 - y0) * t];
  }
  const lone = loneAt(panel, row);
  if (lone) return [lone.x, lone.y];
  const i = points.rowToBase[row];
  return i < 0 ? null : baseAt(panel, i);
}

/**
 * @param {Panel} panel
 * @param {number} row
 */
export function clusterOf(panel, row) {
  const { held, points } = panel;
  const i = points.rowToBase[row];
  const j = points.rowToPath[row];
  if (i >= 0) return held.geometry.clusters[i];
  const lone = loneAt(panel, row);
  if (lone) return lone.cluster;
  return (j >= 0 && held.geometry.path_clusters?.[j]) || 0;
}

/**
 * A value of a row, such as its label; null where it has none.
 * @param {Panel} panel
 * @param {Colour} name
 * @param {number} row
 */
export function colourValue(panel, name, row) {
  const { parts, geometry } = panel.held;
  if (name === "label" && parts.lone && loneAt(panel, row)) return parts.lone.label;
  const values = geometry[`colour.${name}`];
  const i = panel.points.rowToBase[row];
  return values && i >= 0 && values[i] !== 255 ? values[i] : null;
}

/**
 * @param {Panel} panel
 * @param {number} label
 */
export const labelName = ({ held: { meta } }, label) => meta.names[label] ?? String(label);

/**
 * What a row's label is called; null where it has none.
 * @param {Panel} panel
 * @param {number} row
 */
export function labelOf(panel, row) {
  const label = colourValue(panel, "label", row);
  return label === null ? null : labelName(panel, label);
}
