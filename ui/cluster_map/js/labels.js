// The labels of the clusters: the number, and how many samples it has or has won.

import { home, screen } from "./camera.js";
import * as core from "./core.js";
import { s, text } from "./dom.js";

/** @import { Label, Moment, Panel, Point } from "./types.js" */
/** @typedef {{ select: (cluster: number) => void, isolate: (cluster: number) => void }} LabelEvents */

/**
 * Finds a place for each label on the whole map, and how thick the points lie.
 * @param {Panel} panel
 * @param {LabelEvents} on
 */
export function placeLabels(panel, on) {
  const { mount, held, points, ui } = panel;
  const { width, height, fit } = mount.state;
  const { geometry, meta } = held;
  const [, cx, cy] = home(meta);
  const X = (/** @type {number} */ x) => width / 2 + (x / 65535 - cx) * fit;
  const Y = (/** @type {number} */ y) => height / 2 - (y / 65535 - cy) * fit;
  const xs = new Float32Array(points.n);
  const ys = new Float32Array(points.n);
  for (let i = 0; i < points.n; i++) {
    xs[i] = X(geometry.xy[2 * i]);
    ys[i] = Y(geometry.xy[2 * i + 1]);
  }
  const others = Float32Array.from(points.path?.xy ?? [], (v, i) => (i % 2 ? Y(v) : X(v)));
  points.density = core.density(xs, ys, width, height);
  const { toolbar } = mount.ui;
  const bar = ui.stage.contains(toolbar) ? toolbar.getBoundingClientRect() : { width: 0, height: 0 };
  const taken = [[width - bar.width, 0, width, bar.height]];
  const { clusters } = geometry;
  const placed = core.placeLabels({ xs, ys, clusters, k: meta.k, others, width, height, taken });
  points.labels = placed.map(({ cluster, x, y, full }) => {
    /** @type {Point} */
    const at = [cx + (x - width / 2) / fit, cy - (y - height / 2) / fit];
    return buildLabel(cluster, full, at, on);
  });
  ui.groups.labels.replaceChildren(...points.labels.map((label) => label.element));
}

/**
 * @param {number} cluster
 * @param {boolean} full
 * @param {Point} at
 * @param {LabelEvents} on
 * @returns {Label}
 */
function buildLabel(cluster, full, at, on) {
  const hue = `fill: var(--hue-${cluster % 10}); stroke: var(--edge-${cluster % 10})`;
  const dot = s("circle", { cx: -13, cy: -6, r: 4, style: hue });
  const number = s("text", { class: "number", x: -4, y: -1, text: String(cluster) });
  const size = s("text", { class: "size", y: 15, "text-anchor": "middle" });
  const element = s("g", { class: "label", "data-cluster": cluster }, dot, number, full ? size : null);
  element.onclick = () => on.select(cluster);
  element.onpointerenter = () => on.isolate(cluster);
  element.onpointerleave = () => on.isolate(-1);
  return { cluster, element, size, full, at };
}

/**
 * To where the camera has them.
 * @param {Panel} panel
 */
export function moveLabels({ mount: { state }, points }) {
  for (const { element, at } of points.labels) {
    const [x, y] = screen(state, at);
    element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    element.style.display = state.options.show_labels ? "" : "none";
  }
}

/**
 * @param {Panel} panel
 * @param {Moment} moment
 */
export function showLabels({ mount: { state }, points, held: { meta } }, { flow }) {
  const net = state.strength > 0 ? flow?.net : undefined;
  for (const { size, full, cluster } of points.labels) {
    if (full) text(size, net ? core.signed(net[cluster]) : core.group(meta.sizes[cluster]));
  }
}
