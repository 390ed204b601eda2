// The keyboard on a panel: from point to point, pin, zoom, and step by step back.

import { flyTo, screen, setCamera, zoomAt } from "./camera.js";
import * as core from "./core.js";
import { showCard } from "./hover.js";
import { setPin } from "./pin.js";
import { eachDrawn } from "./points.js";
import { closeProbe } from "./probe.js";
import { showRings } from "./rings.js";
import { clusterOf, placeOf } from "./samples.js";
import { clearSelection } from "./selection.js";
import { say } from "./signals.js";

/** @import { Panel, Point } from "./types.js" */

/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {Panel} panel */
export function listenToKeys(panel) {
  const { mount, ui } = panel;
  ui.stage.onkeydown = (event) => {
    if (!mount.ready || event.target !== ui.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (press(panel, event.key)) event.preventDefault();
  };
  ui.stage.onblur = () => {
    mount.state.focus = null;
    if (mount.ready) showRings(mount);
    if (mount.state.hover === null) ui.card.hidden = true;
  };
}

/**
 * @param {Panel} panel
 * @param {string} key
 * @returns {boolean} whether the key means something here
 */
function press(panel, key) {
  const { mount } = panel;
  const { focus } = mount.state;
  const arrow = ARROWS[key];
  if (arrow) walk(panel, arrow);
  else if (key === "Enter" && focus !== null) setPin(panel, focus);
  else if (key === "+" || key === "=") zoomAt(mount, 1.4);
  else if (key === "-") zoomAt(mount, 1 / 1.4);
  else if (key === "0") flyTo(mount, null);
  else if (key === "Escape") back(panel);
  else return false;
  return true;
}

/**
 * Undoes one thing: the gesture, the probe, the selection, the point that the keyboard is at, the pin.
 * @param {Panel} panel
 */
function back(panel) {
  const { mount, hand, ui } = panel;
  const { state } = mount;
  if (hand.gesture) {
    hand.gesture = null;
    ui.groups.gesture.replaceChildren();
  } else if (state.probe !== undefined) closeProbe(mount);
  else if (state.selected.size) clearSelection(panel);
  else if (state.focus !== null) {
    state.focus = null;
    ui.card.hidden = true;
    showRings(mount);
  } else if (state.pin !== null) setPin(panel, null);
}

/**
 * @param {Panel} panel
 * @param {Point} direction
 */
function walk(panel, [dx, dy]) {
  const { mount } = panel;
  const { state } = mount;
  const from = state.focus ?? state.pin;
  const start = from === null ? null : placeOf(panel, from);
  const row = start
    ? nextFrom(panel, screen(state, start), dx, dy)
    : nearestTo(panel, state.width / 2, state.height / 2);
  const place = row === null ? null : placeOf(panel, row);
  if (row === null || !place) return;
  state.focus = row;
  const [x, y] = screen(state, place);
  const inside = x >= 20 && y >= 20 && x <= state.width - 20 && y <= state.height - 20;
  if (!inside) setCamera(mount, [state.zoom, ...place]);
  showRings(mount);
  showCard(panel, row);
  say(mount, `Sample ${row}, cluster ${clusterOf(panel, row)}.`);
}

/**
 * @param {Panel} panel
 * @param {Point} from in pixels
 * @param {number} dx
 * @param {number} dy
 */
function nextFrom(panel, [x, y], dx, dy) {
  /** @type {[number, number, number][]} */
  const points = [];
  eachDrawn(panel, (row, ux, uy) => points.push([row, ...screen(panel.mount.state, [ux, uy])]));
  return core.towards(points, x, y, dx, dy);
}

/**
 * @param {Panel} panel
 * @param {number} x
 * @param {number} y
 */
function nearestTo(panel, x, y) {
  let best = /** @type {number | null} */ (null);
  let least = Infinity;
  eachDrawn(panel, (row, ux, uy) => {
    const [px, py] = screen(panel.mount.state, [ux, uy]);
    const d = Math.hypot(px - x, py - y);
    if (d < least) {
      least = d;
      best = row;
    }
  });
  return best;
}
