// The pinned sample: what is known of it, its way through the map, and how it is pinned.

import { screen } from "./camera.js";
import * as core from "./core.js";
import * as dial from "./dial.js";
import { s } from "./dom.js";
import { closeProbe } from "./probe.js";
import { clusterOf, labelOf, momentOf, pinPath, placeOf, stepAt } from "./samples.js";
import { redraw, say, tell } from "./signals.js";
import { heldTile } from "./tiles.js";

/** @import { Panel, PinDetail, Pinned, PinSections, Point } from "./types.js" */

/**
 * The pinned sample as the inspector wants it.
 * @param {Panel} panel
 * @returns {Pinned | null}
 */
export function pinned(panel) {
  const { mount, held, points } = panel;
  const row = mount.state.pin;
  if (row === null) return null;
  const detail = detailOf(panel, row);
  const q = quantised(panel, row, detail);
  const busy = points.path
    ? `Computing the path of sample ${row} \u2026`
    : `Asking the model about sample ${row} \u2026`;
  return {
    row,
    cluster: clusterOf(panel, row),
    now: clusterNow(panel, row, q),
    flip: flipOf(panel, q, detail),
    rank: rankOf(panel, q),
    label: labelOf(panel, row),
    detail,
    waiting: detail ? "" : held.parts.pin_note || busy,
    inPath: points.rowToPath[row] >= 0,
    image: detail?.image ? null : heldTile(mount, row),
  };
}

/**
 * @param {Panel} panel
 * @param {number} row
 * @returns {PinDetail | null}
 */
function detailOf({ held: { parts, extra } }, row) {
  if (parts.pin?.row !== row) return null;
  const own = Object.entries(extra).filter(([name]) => name.startsWith("pin."));
  /** @type {PinSections} */
  const sections = Object.fromEntries(own.map(([name, array]) => [name.slice(4), array]));
  return { ...parts.pin, ...sections };
}

/**
 * The strength that moves a row, on the scale of `smallest`; null where nobody has looked for one.
 * @param {Panel} panel
 * @param {number} row
 * @param {PinDetail | null} detail
 */
function quantised({ points, held: { meta } }, row, detail) {
  const j = points.rowToPath[row];
  if (points.smallest && j >= 0) return points.smallest[j];
  if (!detail?.searched) return null;
  return detail.smallest === null ? 65535 : Math.ceil((detail.smallest / (meta.end || 1)) * core.TOP);
}

/**
 * In mode "explore" the detail's own smallest flip counts: it may lie beyond the dial.
 * @param {Panel} panel
 * @param {number | null} q
 * @param {PinDetail | null} detail
 */
function flipOf({ points, held: { meta } }, q, detail) {
  if (!points.path && detail?.searched) return detail.smallest;
  if (q === null || q > core.TOP) return null;
  return detail?.smallest ?? (q / core.TOP) * meta.end;
}

/**
 * How many of the attacked samples need more strength.
 * @param {Panel} panel
 * @param {number | null} q
 */
function rankOf({ points: { path } }, q) {
  if (!path?.smallest.length || q === null || q > core.TOP) return null;
  return path.smallest.length - core.countUpTo(path.smallest, q);
}

/**
 * The cluster of a row at this strength.
 * @param {Panel} panel
 * @param {number} row
 * @param {number | null} q the strength that moves it
 */
function clusterNow(panel, row, q) {
  const { points, held } = panel;
  const moment = momentOf(panel);
  const j = points.rowToPath[row];
  const clean = clusterOf(panel, row);
  if (!points.path || q === null || q > moment.q) return clean;
  if (j >= 0) return points.path.clusters[moment.later * points.m + j];
  return held.extra["pin.clusters"]?.[moment.later] ?? clean;
}

/**
 * Where the pinned sample was at each step up to now, in pixels; empty where it does not move.
 * @param {Panel} panel
 * @param {number} row
 * @param {Point} head where it is
 */
function wayOf(panel, row, head) {
  const { points, mount } = panel;
  const { path } = points;
  const j = points.rowToPath[row];
  const own = pinPath(panel, row);
  if (!path || (j < 0 && !own)) return [];
  const way = [];
  for (let step = 0; step <= momentOf(panel).k; step++) {
    /** @type {Point} */
    const at = own ? [own[2 * step], own[2 * step + 1]] : stepAt(path, step, j);
    way.push(screen(mount.state, at));
  }
  return [...way, head];
}

/** @param {Panel} panel */
export function showPinned(panel) {
  const { mount, points, ui, number } = panel;
  const row = mount.state.pin;
  const layer = ui.groups.trail;
  layer.replaceChildren();
  dial.setFlip(mount.dial, points.path ? (pinned(panel)?.flip ?? null) : null, number);
  const place = row === null ? null : placeOf(panel, row);
  if (row === null || !place) return;
  const head = screen(mount.state, place);
  const [x, y] = head;
  const way = wayOf(panel, row, head);
  if (way.length > 1 && Math.hypot(way[0][0] - x, way[0][1] - y) > 1) {
    const d = `M${way.map((at) => at.map((v) => v.toFixed(1)).join(" ")).join("L")}`;
    const [cx, cy] = way[0];
    layer.append(s("path", { class: "halo", d }), s("path", { class: "way", d }));
    layer.append(
      s("circle", { class: "ghost-ground", cx, cy, r: 5.5 }),
      s("circle", { class: "ghost", cx, cy, r: 5.5 }),
    );
  }
  const hue = `fill: var(--hue-${clusterOf(panel, row) % 10})`;
  layer.append(s("circle", { class: "head-ring", cx: x, cy: y, r: 7.5 }));
  layer.append(s("circle", { class: "head-fill", cx: x, cy: y, r: 4.2, style: hue }));
}

/**
 * @param {Panel} panel
 * @param {number | null} row null: no sample is pinned any more
 */
export function setPin(panel, row) {
  const { mount } = panel;
  mount.state.pin = row;
  closeProbe(mount);
  dial.stop(mount.dial);
  say(mount, row === null ? "Pin removed." : `Sample ${row} pinned, cluster ${clusterOf(panel, row)}.`);
  tell(mount, "trigger", "pin", { row });
  redraw(mount);
}
