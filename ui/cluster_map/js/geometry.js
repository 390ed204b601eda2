// What is derived from a panel's geometry.

import * as core from "./core.js";

/** @import { Geometry, Held, Mount, Paths, Points, Raster } from "./types.js" */

/**
 * The attacked samples, where their ways are drawn.
 * @param {Geometry} geometry
 * @returns {Paths | null}
 */
function pathsOf({ path_row: rows, paths: xy, path_clusters: clusters, smallest }) {
  return rows && xy && clusters && smallest ? { rows, xy, clusters, smallest } : null;
}

/**
 * @param {Geometry} geometry
 * @returns {Raster | null}
 */
export function rasterOf({ winner, margin, trusted }) {
  return winner && margin && trusted ? { winner, margin, trusted } : null;
}

/**
 * @param {Held} held
 * @returns {Points}
 */
export function derive({ meta, geometry }) {
  const { n, k, total } = meta;
  const path = meta.mode === "explore" ? null : pathsOf(geometry);
  const rows = geometry.row ?? null;
  const rowToBase = new Int32Array(total).fill(-1);
  for (let i = 0; i < n; i++) rowToBase[rows ? rows[i] : i] = i;
  const rowToPath = new Int32Array(total).fill(-1);
  const pathRows = geometry.path_row ?? [];
  for (let j = 0; j < pathRows.length; j++) rowToPath[pathRows[j]] = j;
  const isPath = new Uint8Array(n);
  for (const row of path?.rows ?? []) if (rowToBase[row] >= 0) isPath[rowToBase[row]] = 1;
  return {
    n,
    m: path ? meta.paths : 0,
    k,
    rows,
    path,
    smallest: geometry.smallest ?? null,
    rowToBase,
    rowToPath,
    isPath,
    index: core.buildIndex(geometry.xy, path ? isPath : null),
    density: null,
    labels: [],
    marks: new Uint8Array(0),
    other: null,
  };
}

/**
 * Gives each panel its points. The second one has the first one's samples and strengths, and a geometry of its own.
 * @param {Mount} mount
 */
export function deriveAll({ held, panels: [a, b] }) {
  a.points = derive(held);
  if (!b) return;
  const { geometry, meta, partner } = held;
  if (geometry.row) partner.row = geometry.row;
  if (geometry["colour.label"]) partner["colour.label"] = geometry["colour.label"];
  Object.assign(b.held, { meta: { ...meta, ...meta.partner }, geometry: partner });
  b.points = derive(b.held);
  a.points.other = smallestOf(a.points, b.points);
  b.points.other = smallestOf(b.points, a.points);
}

/**
 * What the other model's `smallest` is for each attacked sample of this one.
 * @param {Points} own
 * @param {Points} other
 */
function smallestOf(own, other) {
  const { smallest } = other;
  return own.path && smallest ? Uint16Array.from(own.path.rows, (row) => smallest[other.rowToPath[row]]) : null;
}
