// The inspector: what is known of the pinned sample or of a probed spot, and, for an attack, of all moved samples.

import { h } from "./dom.js";
import * as flow from "./flow.js";
import * as histogram from "./histogram.js";
import * as neighbours from "./neighbours.js";
import * as sample from "./sample.js";
import * as smallest from "./smallest.js";
import * as spot from "./spot.js";

/** @import { Mode, Moment, Pinned, ProbeAnswer, Theme } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Inspector */
/**
 * @typedef {object} InspectorEvents
 * @property {(from: number, to: number) => void} flow
 * @property {(row: number) => void} pin
 * @property {() => void} unpin
 * @property {() => void} closeProbe
 */
/**
 * @typedef {object} InspectorView
 * @property {Mode} mode
 * @property {number} k
 * @property {number} paths how many samples have one
 * @property {number} end
 * @property {number | null} target
 * @property {string} norm
 * @property {string} attack
 * @property {string} unit
 * @property {Uint16Array | null} smallest null: there is no path
 * @property {number | null} median
 * @property {{ row: number, strength: number } | null} suggestion
 * @property {(row: number) => number} clusterOf
 */

/** @param {InspectorEvents} on */
export function create(on) {
  const parts = {
    spot: spot.create(on.closeProbe),
    sample: sample.create(on),
    neighbours: neighbours.create(on.pin),
    smallest: smallest.create(),
    flow: flow.create(on.flow),
  };
  const root = h(
    "aside",
    { class: "inspector", "data-testid": "map-inspector", "aria-label": "Inspector" },
    parts.spot.root,
    parts.sample.root,
    parts.sample.soft.root,
    parts.neighbours.root,
    parts.smallest.root,
    parts.flow.root,
  );
  return { root, ...parts, view: /** @type {InspectorView | null} */ (null) };
}

/**
 * @param {Inspector} inspector
 * @param {InspectorView} view
 */
export function setup(inspector, view) {
  inspector.view = view;
  redraw(inspector);
  inspector.flow.root.hidden = view.mode !== "attack" || !view.smallest;
  if (view.smallest) histogram.setup(inspector.smallest.chart, view.smallest);
  if (!inspector.flow.root.hidden) flow.setup(inspector.flow, view.k);
}

/**
 * The smallest strengths stand in their place, or at the end of another column.
 * @param {Inspector} inspector
 * @param {HTMLElement | null} column
 */
export function lodge(inspector, column) {
  if (column) column.append(inspector.smallest.root);
  else inspector.root.insertBefore(inspector.smallest.root, inspector.flow.root);
}

/** @param {Inspector} inspector */
export function resize({ root, smallest: { root: own, chart } }) {
  histogram.resize(chart, own.clientWidth || root.clientWidth);
}

/**
 * Has all pictures drawn anew.
 * @param {Inspector} inspector
 */
export function redraw(inspector) {
  inspector.sample.drawn = "";
  inspector.neighbours.shown = null;
}

/**
 * @param {Inspector} inspector
 * @param {Pinned | null} pin
 * @param {Moment} now
 * @param {Theme} theme
 */
export function update(inspector, pin, now, theme) {
  const { view } = inspector;
  if (!view) return;
  if (inspector.spot.root.hidden) {
    sample.update(inspector.sample, view, pin, now, theme);
    neighbours.update(inspector.neighbours, view, pin?.detail);
  }
  smallest.update(inspector.smallest, view, pin, now);
  if (!inspector.flow.root.hidden && now.flow) flow.update(inspector.flow, now.flow);
}

/**
 * The answer for a spot takes the place of what is said of the pinned sample.
 * @param {Inspector} inspector
 * @param {ProbeAnswer | null | undefined} answer null while it is awaited; undefined: none
 */
export function showProbe(inspector, answer) {
  const rest = [inspector.sample, inspector.sample.soft, inspector.neighbours, inspector.smallest];
  inspector.spot.root.hidden = answer === undefined;
  for (const { root } of rest) root.style.display = answer === undefined ? "" : "none";
  if (answer !== undefined) spot.update(inspector.spot, answer);
}
