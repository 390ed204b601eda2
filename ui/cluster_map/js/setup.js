// A new base: what the dial, the inspector and the renderer are told of it.

import { home } from "./camera.js";
import * as canvas2d from "./canvas2d.js";
import * as core from "./core.js";
import * as dial from "./dial.js";
import { deriveAll, rasterOf } from "./geometry.js";
import * as inspector from "./inspector.js";
import { clusterOf } from "./samples.js";
import { resize } from "./size.js";
import * as strip from "./strip.js";
import { paletteOf } from "./theme.js";
import * as webgl from "./webgl.js";

/** @import { DialView } from "./curve.js" */
/** @import { InspectorView } from "./inspector.js" */
/** @import { Mount } from "./types.js" */

/** @param {Mount} mount */
export function setup(mount) {
  const { state, held, panels } = mount;
  const { meta } = held;
  deriveAll(mount);
  if (mount.strip) {
    state.side = null;
    strip.clear(mount.strip);
    mount.strip.root.hidden = !panels[0].points.path;
  }
  if (meta.layout !== state.layout) forget(mount);
  if (state.pin !== null && state.pin >= meta.total) state.pin = null;
  state.strength = Math.min(state.strength, meta.end || 0);
  if (!mount.ready) makeRenderer(mount);
  mount.ready = true;
  feed(mount);
  dial.setup(mount.dial, dialView(mount));
  if (mount.inspector) inspector.setup(mount.inspector, inspectorView(mount));
  for (const panel of panels) panel.moment = null;
  if (state.width) resize(mount);
}

/**
 * Other positions: the whole map is shown, and what was set on the map before means nothing here.
 * @param {Mount} mount
 */
function forget({ state, held: { meta }, tiles, asked }) {
  if (state.layout) {
    state.selected = new Set();
    tiles.clear();
    asked.clear();
  }
  [state.zoom, state.cx, state.cy] = home(meta);
  Object.assign(state, { layout: meta.layout, hover: null, focus: null });
}

/** @param {Mount} mount */
export function makeRenderer(mount) {
  const { still, live } = mount.ui;
  mount.renderer = webgl.create(still, live) ?? canvas2d.create(still, live);
  mount.root.dataset.renderer = mount.renderer.name;
  for (const panel of mount.panels) panel.renderer = mount.renderer.panel();
}

/**
 * Hands all panels' arrays to the renderer.
 * @param {Mount} mount
 */
export function feed({ panels, state }) {
  for (const { points, renderer, held } of panels) {
    renderer.setBase(held.geometry.xy, held.geometry.clusters);
    renderer.setPaths(points.path);
    renderer.setRaster(rasterOf(held.geometry), paletteOf(state.theme));
  }
}

/**
 * @param {Mount} mount
 * @returns {DialView | null}
 */
function dialView({ held: { meta, geometry, partner }, panels: [{ points }, other] }) {
  if (!points.path?.smallest.length) return null;
  const { end, strengths, attack, unit, target } = meta;
  const { smallest } = points.path;
  const verb = target === null ? "moved" : `moved into cluster ${target}`;
  const noiseVerb = meta.noise_target === target ? verb : "left their cluster";
  const theirs = other?.points.smallest;
  const second = theirs ? { name: meta.partner?.name ?? "", smallest: theirs, noise: partner.noise ?? null } : null;
  const noise = geometry.noise ?? null;
  return { end, strengths, smallest, noise, attack, unit, verb, noiseVerb, name: meta.name ?? "", second };
}

/**
 * @param {Mount} mount
 * @returns {InspectorView}
 */
function inspectorView({ held: { meta }, panels: [panel] }) {
  const { mode, k, end, target, norm, attack, unit } = meta;
  const { path } = panel.points;
  const smallest = panel.points.smallest?.length ? panel.points.smallest : null;
  const strengthOf = (/** @type {number} */ q) => (q / core.TOP) * end;
  const middle = smallest ? smallest[smallest.length >> 1] : core.TOP + 1;
  const fragile = path && smallest && core.countUpTo(smallest, core.TOP) > 0;
  return {
    mode,
    k,
    paths: smallest?.length ?? 0,
    end,
    target,
    norm,
    attack,
    unit,
    smallest,
    median: middle > core.TOP ? null : strengthOf(middle),
    suggestion: fragile ? { row: path.rows[0], strength: strengthOf(smallest[0]) } : null,
    clusterOf: (row) => clusterOf(panel, row),
  };
}
