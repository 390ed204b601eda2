// The frame: what is drawn when, in all panels at once.

import { visible } from "./camera.js";
import * as core from "./core.js";
import * as dial from "./dial.js";
import { text } from "./dom.js";
import * as inspector from "./inspector.js";
import { showKey } from "./key.js";
import { moveLabels, showLabels } from "./labels.js";
import { pinned, showPinned } from "./pin.js";
import { filter, lookOf, restylePanel } from "./points.js";
import { showPanelRings } from "./rings.js";
import { momentOf } from "./samples.js";
import { redraw } from "./signals.js";
import * as strip from "./strip.js";

/** @import { Moment, Mount, Panel } from "./types.js" */

/**
 * After a change of what is shown or how: everything looks different.
 * @param {Mount} mount
 */
export function restyle(mount) {
  if (!mount.ready) return;
  for (const panel of mount.panels) restylePanel(panel);
  showKey(mount);
  const plain = "No WebGL here: drawn in Canvas2D, plainer and slower.";
  const notes = [mount.state.options.note, mount.renderer.name === "canvas2d" ? plain : ""].filter(Boolean);
  const place = mount.panels[0].ui.note;
  place.hidden = !notes.length;
  text(place, notes.join(" "));
  redraw(mount, true);
}

/** @param {Mount} mount */
export function draw(mount) {
  const { panels, state, renderer, stale: still } = mount;
  mount.raf = 0;
  if (renderer.lost()) return;
  const moments = panels.map(momentOf);
  if (state.side !== null) panels.forEach(filter);
  paint(mount, still, moments);
  panels.forEach((panel, i) => {
    if (still) moveLabels(panel);
    showLabels(panel, moments[i]);
    showPinned(panel);
    showPanelRings(panel);
    if (mount.strip) showHead(panel, moments[i]);
  });
  if (panels[0].points.path) dial.update(mount.dial, moments);
  if (mount.inspector) inspector.update(mount.inspector, pinned(panels[0]), moments[0], state.theme);
  if (mount.strip) showJoint(mount, mount.strip, moments[0].q);
  mount.stale = false;
  mount.frames++;
  if (mount.root.dataset.measure) measure(mount);
  publish(mount, moments);
}

/**
 * All panels of a layer are drawn together: its canvas keeps nothing from the frame before.
 * @param {Mount} mount
 * @param {boolean} still
 * @param {Moment[]} moments
 */
export function paint({ panels, renderer }, still, moments) {
  const crowd = Math.max(...moments.map((moment) => moment.moved));
  renderer.clear(still);
  panels.forEach((panel, i) => {
    const look = lookOf(panel);
    if (still) panel.renderer.drawStatic(look);
    panel.renderer.drawOverlay({ ...look, ...moments[i], crowd });
  });
}

/**
 * Of two models: the name over a panel, and how many have moved there.
 * @param {Panel} panel
 * @param {Moment} moment
 */
function showHead({ ui: { name, aside }, held: { meta }, points }, { moved }) {
  const count = points.path ? `${core.group(moved)} of ${core.group(points.m)} moved` : "";
  text(name, meta.name ?? "");
  text(aside, [meta.aside, count].filter(Boolean).join(" \u00b7 "));
}

/**
 * Of two models: who moved on which side.
 * @param {Mount} mount
 * @param {strip.Strip} bar
 * @param {number} q
 */
function showJoint(mount, bar, q) {
  const { smallest, other } = mount.panels[0].points;
  if (!smallest || !other) return;
  mount.counts = core.joint(smallest, other, q);
  strip.update(bar, mount.counts);
}

/** @param {Mount} mount */
function measure(mount) {
  mount.renderer.finish();
  const end = performance.now();
  if (mount.lastFrame) mount.intervals.push(end - mount.lastFrame);
  mount.lastFrame = mount.state.moving ? end : 0;
}

/**
 * Says on the root's data attributes where the map stands.
 * @param {Mount} mount
 * @param {Moment[]} moments
 */
function publish(mount, [{ moved, noise }]) {
  const { root, held, state, panels, counts, frames } = mount;
  const { probe } = state;
  const { n, m } = panels[0].points;
  const camera = visible(mount).map((v) => v.toFixed(3));
  const facts = {
    ready: "1",
    mode: held.meta.mode,
    points: n,
    paths: m,
    strength: state.strength.toFixed(4),
    moved,
    noise,
    pin: state.pin ?? "",
    detail: held.parts.pin?.row ?? "",
    selected: state.selected.size,
    probe: probe === undefined ? "" : probe === null ? "waiting" : "answered",
    zoom: state.zoom.toFixed(3),
    camera: camera.join(","),
    colour: state.options.colour,
    theme: state.theme.dark ? "dark" : "light",
    frames,
  };
  Object.assign(root.dataset, facts);
  if (counts) Object.assign(root.dataset, { joint: counts.join(","), side: state.side ?? "" });
}
