// How the points of a panel look: their colours and marks, which of them are left out, and all that the renderers ask.

import { scale } from "./camera.js";
import * as core from "./core.js";
import { attribute } from "./dom.js";
import { baseAt, momentOf, pathAt, rowAt } from "./samples.js";
import { tell } from "./signals.js";
import { onRamp } from "./theme.js";

/** @import { Colour, Look, Panel, Theme } from "./types.js" */

const TRAILS = 500; // newest moved samples with a trail, all panels together
const MISSING = 255; // the value of a sample that has none

/**
 * Gives all points their colours and marks, and the panel its description.
 * @param {Panel} panel
 */
export function restylePanel(panel) {
  const { mount, held, points } = panel;
  const { state } = mount;
  const { colour } = state.options;
  const { geometry, meta } = held;
  const values = colour === "cluster" ? geometry.clusters : geometry[`colour.${colour}`];
  panel.moment = null;
  if (!values && state.asking !== meta.layout) {
    state.asking = meta.layout;
    tell(mount, "trigger", "resend", held.base);
  }
  const table = colourTable(state.theme, colour, colour in meta.ramps);
  const mark = marker(panel);
  styleBase(panel, table, values, mark);
  if (points.path) stylePaths(panel, table, values, mark);
  const whose = meta.name ? `${meta.name}: ` : "";
  const keys = "Arrow keys go from point to point, Enter pins, Escape clears, plus, minus and 0 zoom.";
  const about = `Map of ${whose}${core.group(meta.n)} samples in ${meta.k} clusters. ${held.parts.alt} ${keys}`;
  attribute(panel.ui.stage, "aria-label", about);
}

/**
 * Three bytes for each value.
 * @param {Theme} theme
 * @param {Colour} colour
 * @param {boolean} ramp whether it is one
 */
function colourTable(theme, colour, ramp) {
  const table = new Uint8Array(256 * 3);
  const grey = theme.ink.map((v, i) => (v * 0.35 + theme.ground[i] * 0.65) * 255);
  for (let v = 0; v < 256; v++) {
    const shown = ramp ? onRamp(theme.rampRgb, v / 254) : theme.rgb[v % 10];
    table.set(v === MISSING && colour !== "cluster" ? grey : shown, 3 * v);
  }
  return table;
}

/**
 * The mark of a row: 0 plain, 1 steps back, 2 selected.
 * @param {Panel} panel
 */
function marker({ mount, held }) {
  const hot = new Set(mount.state.selected);
  for (const row of held.extra["options.highlight"] ?? []) hot.add(row);
  return (/** @type {number} */ row) => (hot.size ? (hot.has(row) ? 2 : 1) : 0);
}

/**
 * @param {Panel} panel
 * @param {Uint8Array} table
 * @param {Uint8Array | undefined} values
 * @param {(row: number) => number} mark
 */
function styleBase(panel, table, values, mark) {
  const { points, renderer, mount } = panel;
  const { n, path, isPath, density } = points;
  const ramp = mount.state.options.colour in panel.held.meta.ramps;
  const rgba = new Uint8Array(4 * n);
  const marks = new Uint8Array(n);
  // Under moving samples a few thousand others are an even ground; more of them stand back where they lie thick.
  const even = path && n <= 10000;
  for (let i = 0; i < n; i++) {
    if (isPath[i]) continue; // drawn as an attacked sample, not here
    const value = values ? values[i] : MISSING;
    rgba.set(table.subarray(3 * value, 3 * value + 3), 4 * i);
    rgba[4 * i + 3] = 255 * (even ? 1 : (density?.[i] ?? 1)) * (ramp && value === MISSING ? 0.5 : 1);
    marks[i] = mark(rowAt(panel, i));
  }
  renderer.setBaseLook(rgba, marks);
}

/**
 * @param {Panel} panel
 * @param {Uint8Array} table
 * @param {Uint8Array | undefined} values
 * @param {(row: number) => number} mark
 */
function stylePaths(panel, table, values, mark) {
  const { points, renderer, mount } = panel;
  const { path, m, rowToBase } = points;
  if (!path) return;
  const byCluster = mount.state.options.colour === "cluster";
  const rgba = new Uint8Array(4 * m);
  points.marks = new Uint8Array(m);
  for (let j = 0; j < m; j++) {
    const row = path.rows[j];
    const i = rowToBase[row];
    const value = byCluster ? path.clusters[j] : values && i >= 0 ? values[i] : MISSING;
    rgba.set(table.subarray(3 * value, 3 * value + 3), 4 * j);
    rgba[4 * j + 3] = 255;
    points.marks[j] = mark(row);
  }
  renderer.setPathLook(rgba, filtered(panel));
}

/**
 * Beside another model a part of the samples may be asked for: those that moved here only, there only, in both.
 * @param {Panel} panel
 * @param {number} j
 */
export function leftOut(panel, j) {
  const { points, mount, number } = panel;
  const { side } = mount.state;
  if (side === null || !points.path || !points.other) return false;
  const { q } = momentOf(panel);
  const here = points.path.smallest[j];
  const there = points.other[j];
  return (number ? core.sideOf(there, here, q) : core.sideOf(here, there, q)) !== side;
}

/** @param {Panel} panel */
function filtered(panel) {
  const { marks } = panel.points;
  return panel.mount.state.side === null ? marks : marks.map((mark, j) => (leftOut(panel, j) ? 3 : mark));
}

/**
 * Takes the left out samples from the map, or brings them back.
 * @param {Panel} panel
 */
export function filter(panel) {
  if (panel.points.path) panel.renderer.setPathMarks(filtered(panel));
}

/**
 * Calls `visit` with the row and the place of each sample that is drawn, the attacked ones last.
 * @param {Panel} panel
 * @param {(row: number, x: number, y: number) => void} visit
 */
export function eachDrawn(panel, visit) {
  const { points, mount } = panel;
  const { path } = points;
  const moving = mount.state.options.only_moved;
  for (let i = 0; !moving && i < points.n; i++) if (!points.isPath[i]) visit(rowAt(panel, i), ...baseAt(panel, i));
  if (!path) return;
  const moment = momentOf(panel);
  const last = moving ? moment.moved : points.m;
  for (let j = 0; j < last; j++) if (!leftOut(panel, j)) visit(path.rows[j], ...pathAt(path, moment, j));
}

/**
 * @param {Panel} panel
 * @returns {Look}
 */
export function lookOf({ mount, held, points, place }) {
  const { state, panels } = mount;
  const { theme, options, width, height, zoom, dpr } = state;
  const { tint, edges, trust } = options;
  const { raster } = held.meta;
  const room = Math.max(0.76, Math.min(1, Math.sqrt((width * height) / 360000)));
  const grow = room * Math.min(2.4, zoom ** 0.3);
  const many = Math.max(0.4, Math.min(1, Math.sqrt(10000 / points.n)));
  const baseSize = (points.path ? 3.3 : 3.8) * grow * Math.max(0.62, many);
  const quiet = options.only_moved || state.side !== null ? 0.22 : 1;
  const still = theme.dark ? 0.92 : 0.88;
  const under = (theme.dark ? 0.34 : 0.3) * (1 + 0.5 * Math.log2(zoom));
  const opacity = core.opacity(points.path ? under : still, points.n, baseSize, width * height * zoom ** 2);
  const [x, y] = [(2 * scale(state)) / width, (2 * scale(state)) / height];
  return {
    camera: [-state.cx * x, -state.cy * y, x, y],
    ink: theme.ink,
    ground: theme.ground,
    width,
    height,
    dpr,
    place,
    isolate: state.isolate >= 0 ? state.isolate : (options.highlight_cluster ?? -1),
    faded: 0.14,
    baseSize,
    baseAlpha: Math.min(1, opacity * quiet),
    scale: grow,
    pathSize: 3.9 * grow,
    pathAlpha: theme.dark ? 0.62 : 0.58,
    box: raster,
    regions: raster && { tint: Number(tint), edges: Number(edges), trust: Number(trust) },
    onlyMoved: options.only_moved,
    trails: Math.round(TRAILS / panels.length),
  };
}
