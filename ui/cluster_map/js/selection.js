// Which samples are selected, by a shape drawn on the map, a cluster's label or a cell of the flow.

import { toMap, unscreen } from "./camera.js";
import * as core from "./core.js";
import { restyle } from "./frame.js";
import { eachDrawn } from "./points.js";
import { momentOf, rowAt } from "./samples.js";
import { redraw, say, tell } from "./signals.js";

/** @import { Mount, Panel, Point } from "./types.js" */

const IDS = 2000; // up to so many rows are sent by number; of more the page is told how they were found

/**
 * @param {Panel} panel
 * @param {number[]} rows
 * @param {string} by
 * @param {object} how they were found, so that the page can find them too
 */
function select({ mount, number }, rows, by, how) {
  const { state } = mount;
  state.selected = new Set(rows);
  state.selections++;
  const few = rows.length <= IDS || state.side !== null ? { rows } : how;
  const { strength, selections: serial } = state;
  say(mount, rows.length ? `${core.group(rows.length)} samples selected.` : "Selection cleared.");
  tell(mount, "state", "selection", { by, serial, strength, count: rows.length, panel: number, ...few });
  restyle(mount);
}

/** @param {Panel} panel */
export function clearSelection(panel) {
  select(panel, [], "", {});
}

/**
 * @param {Panel} panel
 * @param {Point[]} shape in pixels
 * @param {string} by
 */
export function selectArea(panel, shape, by) {
  const { state, held } = panel.mount;
  const polygon = shape.map(([x, y]) => unscreen(state, x, y));
  const xs = polygon.map((p) => p[0]);
  const ys = polygon.map((p) => p[1]);
  const [x0, y0, x1, y1] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  /** @type {number[]} */
  const rows = [];
  eachDrawn(panel, (row, x, y) => {
    const near = x >= x0 && x <= x1 && y >= y0 && y <= y1;
    if (near && core.insidePolygon(polygon, x, y)) rows.push(row);
  });
  rows.sort((a, b) => a - b);
  const places = polygon.map((place) => toMap(held.meta, place));
  select(panel, rows, by, { polygon: places, only_moved: state.options.only_moved });
}

/**
 * @param {Panel} panel
 * @param {number} cluster
 */
export function selectCluster(panel, cluster) {
  const { clusters } = panel.held.geometry;
  const rows = [];
  for (let i = 0; i < panel.points.n; i++) if (clusters[i] === cluster) rows.push(rowAt(panel, i));
  select(panel, rows, `cluster ${cluster}`, { cluster });
}

/**
 * @param {Panel} panel
 * @param {number} from
 * @param {number} to
 */
export function selectFlow(panel, from, to) {
  const { path, m } = panel.points;
  if (!path) return;
  const { moved, later } = momentOf(panel);
  const rows = [];
  for (let j = 0; j < moved; j++) {
    if (path.clusters[j] === from && path.clusters[later * m + j] === to) rows.push(path.rows[j]);
  }
  rows.sort((a, b) => a - b);
  const strength = panel.mount.state.strength.toFixed(3);
  select(panel, rows, `flow ${from} -> ${to}, strength ${strength}`, { flow: [from, to] });
}

/**
 * Fades all other clusters.
 * @param {Mount} mount
 * @param {number} cluster -1: none is faded
 */
export function isolate(mount, cluster) {
  if (mount.state.isolate === cluster) return;
  mount.state.isolate = cluster;
  redraw(mount, true);
}
