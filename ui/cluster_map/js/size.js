// The size of a mount: that of its column, its panels and its canvases.

import { fit } from "./camera.js";
import * as dial from "./dial.js";
import { attribute } from "./dom.js";
import { restyle } from "./frame.js";
import * as inspector from "./inspector.js";
import { placeLabels } from "./labels.js";
import { GAP } from "./layout.js";
import { isolate, selectCluster } from "./selection.js";
import { redraw } from "./signals.js";
import * as strip from "./strip.js";

/** @import { Mount } from "./types.js" */

const STACKED = 640; // below this width one panel stands above the other

/**
 * Follows the size of the page.
 * @param {Mount} mount
 * @returns {ResizeObserver}
 */
export function observe(mount) {
  const { ui, state } = mount;
  const observer = new ResizeObserver(() => {
    const width = ui.left.clientWidth;
    const dpr = Math.min(2, window.devicePixelRatio || 1);
    if (!width) return;
    if (mount.inspector) balance(mount, mount.inspector);
    // Of two panels the place changes too where a head over one takes another line.
    if (!mount.strip && width === state.width && dpr === state.dpr) return redraw(mount);
    state.dpr = dpr;
    resize(mount);
  });
  observer.observe(ui.left);
  if (mount.inspector) observer.observe(mount.inspector.root);
  return observer;
}

/**
 * A long inspector leaves a hole below the dial: where it is the larger one, the smallest strengths fill it.
 * @param {Mount} mount
 * @param {inspector.Inspector} side
 */
function balance({ ui: { left } }, side) {
  const { root } = side.smallest;
  const own = root.offsetHeight;
  const there = root.parentNode === left;
  const moved = there ? 2 * (own + 24) : 0; // with the 24 px above it
  const hole = side.root.offsetHeight - left.offsetHeight + moved;
  const fits = own > 0 && hole > 1.4 * own && side.root.offsetLeft > left.offsetLeft;
  if (fits !== there) inspector.lodge(side, fits ? left : null);
  inspector.resize(side);
}

/**
 * Lays everything out for the width of the column.
 * @param {Mount} mount
 */
export function resize(mount) {
  const { root, ui, state, panels } = mount;
  const width = ui.left.clientWidth;
  const stacked = width < STACKED;
  if (!root.clientWidth) return;
  state.width = mount.strip && !stacked ? Math.floor((width - GAP) / 2) : width;
  state.height = heightOf(mount);
  for (const { stage, marks } of ui.panels) {
    stage.style.height = `${state.height}px`;
    attribute(marks, "viewBox", `0 0 ${state.width} ${state.height}`);
  }
  ui.maps.classList.toggle("stacked", stacked);
  dial.resize(mount.dial, width);
  if (mount.strip) strip.resize(mount.strip, width, stacked);
  if (!mount.ready) return;
  place(mount);
  fit(mount);
  for (const panel of panels) {
    placeLabels(panel, {
      select: (cluster) => selectCluster(panel, cluster),
      isolate: (cluster) => isolate(mount, cluster),
    });
  }
  restyle(mount);
}

/** @param {Mount} mount */
function heightOf({ state: { width }, strip: bar, ready, held }) {
  if (!bar || !ready) return Math.round(width < 480 ? width * 0.94 : Math.min(width * 0.78, 660));
  // As high as both maps need at this width: side by side there is none to spare.
  const [x0, y0, x1, y1] = held.meta.box;
  return Math.round(Math.min(0.96, Math.max(0.72, (y1 - y0) / Math.max(1e-6, x1 - x0))) * width);
}

/**
 * Puts the canvases under the panels.
 * @param {Mount} mount
 */
export function place({ panels, ui, renderer, state }) {
  if (panels.length > 1)
    for (const panel of panels) panel.place = [panel.ui.stage.offsetLeft, panel.ui.stage.offsetTop];
  renderer.resize(ui.maps.clientWidth, ui.maps.clientHeight, state.dpr);
}
