// The pointer and the wheel on a panel: hover, pan, pinch, a shape to select by, a click.

import { scale, setCamera, zoomAt } from "./camera.js";
import { s } from "./dom.js";
import { endHover, hoverAt, pick } from "./hover.js";
import { setPin } from "./pin.js";
import { askProbe, closeProbe } from "./probe.js";
import { clearSelection, selectArea } from "./selection.js";
import { later } from "./signals.js";

/** @import { Gesture, Panel, Point } from "./types.js" */

const PAUSE = 50; // ms from hover to hover
const ELSEWHERE = 250; // ms that a wheel which began elsewhere goes on scrolling the page

/** @param {Panel} panel */
export function listenToPointers(panel) {
  const { mount, ui, hand } = panel;
  const { stage } = ui;
  stage.onpointerdown = (event) => press(panel, event);
  stage.onpointermove = (event) => {
    if (!mount.ready) return;
    if (hand.gesture) drag(panel, hand.gesture, event);
    else hover(panel, placeIn(panel, event));
  };
  stage.onpointerup = (event) => release(panel, event);
  stage.onpointercancel = (event) => {
    hand.pointers.delete(event.pointerId);
    hand.gesture = null;
    ui.groups.gesture.replaceChildren();
  };
  stage.onpointerleave = () => {
    clearTimeout(mount.timers.pick);
    clearTimeout(mount.timers.card);
    endHover(panel);
  };
  stage.onwheel = (event) => wheel(panel, event);
  // A page scrolled past the map must not zoom it: a wheel that began elsewhere goes on scrolling.
  const elsewhere = (/** @type {WheelEvent} */ event) => {
    if (!event.composedPath().includes(stage)) hand.wheelElsewhere = performance.now();
  };
  window.addEventListener("wheel", elsewhere, { passive: true, signal: mount.life.signal });
}

/**
 * Where an event is on the panel, in pixels.
 * @param {Panel} panel
 * @param {MouseEvent} event
 * @returns {Point}
 */
function placeIn({ ui }, event) {
  const box = ui.stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/**
 * @param {Point} a
 * @param {Point} b
 */
const between = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/**
 * Whether an event is on the map itself, not on its tools or a label.
 * @param {Panel} panel
 * @param {Event} event
 */
function onMap({ ui, mount }, { target }) {
  if (!(target instanceof Element) || target.closest(".label")) return false;
  /** @type {Element[]} */
  const ground = [ui.stage, mount.ui.live, mount.ui.still];
  return ground.includes(target) || ui.marks.contains(target);
}

/**
 * @param {Panel} panel
 * @param {PointerEvent} event
 */
function press(panel, event) {
  const { mount, ui, hand } = panel;
  if (!mount.ready || event.button > 0 || !onMap(panel, event)) return;
  const start = placeIn(panel, event);
  hand.pointers.set(event.pointerId, start);
  ui.stage.setPointerCapture(event.pointerId);
  const [a, b, ...more] = hand.pointers.values();
  const kind = event.shiftKey ? "lasso" : mount.state.tool;
  const two = b && !more.length;
  hand.gesture = two
    ? { kind: "pinch", start, points: [], moved: false, distance: between(a, b) }
    : { kind, start, points: [start], moved: false, distance: 0 };
}

/**
 * @param {Panel} panel
 * @param {Point} place
 */
function hover(panel, place) {
  const { mount, hand } = panel;
  const time = performance.now();
  const answer = () => {
    hand.lastPick = performance.now();
    if (!hand.gesture && !mount.state.moving) hoverAt(panel, place);
  };
  if (time - hand.lastPick >= PAUSE) answer();
  else later(mount, "pick", PAUSE - (time - hand.lastPick), answer);
}

/**
 * @param {Panel} panel
 * @param {Gesture} gesture
 * @param {PointerEvent} event
 */
function drag(panel, gesture, event) {
  const { mount, hand } = panel;
  const { state } = mount;
  const place = placeIn(panel, event);
  const before = hand.pointers.get(event.pointerId);
  if (!before) return;
  hand.pointers.set(event.pointerId, place);
  if (gesture.kind === "pinch") return pinch(panel, gesture);
  if (!gesture.moved && between(place, gesture.start) < 4) return;
  gesture.moved = true;
  endHover(panel);
  if (gesture.kind !== "pan") return outline(panel, gesture, place);
  const S = scale(state);
  setCamera(mount, [state.zoom, state.cx - (place[0] - before[0]) / S, state.cy + (place[1] - before[1]) / S]);
}

/**
 * @param {Panel} panel
 * @param {Gesture} gesture
 */
function pinch({ mount, hand }, gesture) {
  const [a, b] = hand.pointers.values();
  if (!b) return; // one finger has left, the other one moves on
  const distance = between(a, b);
  zoomAt(mount, distance / Math.max(1, gesture.distance), [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
  gesture.distance = distance;
}

/**
 * Draws the box or the lasso as far as it goes.
 * @param {Panel} panel
 * @param {Gesture} gesture
 * @param {Point} place
 */
function outline({ ui }, gesture, [x, y]) {
  const [x0, y0] = gesture.start;
  if (gesture.kind === "lasso") gesture.points.push([x, y]);
  else {
    gesture.points = [
      [x0, y0],
      [x, y0],
      [x, y],
      [x0, y],
    ];
  }
  const d = `M${gesture.points.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L")}Z`;
  ui.groups.gesture.replaceChildren(s("path", { class: "shape", d }));
}

/**
 * @param {Panel} panel
 * @param {PointerEvent} event
 */
function release(panel, event) {
  const { mount, ui, hand } = panel;
  const done = hand.gesture;
  hand.pointers.delete(event.pointerId);
  hand.gesture = hand.pointers.size && done?.kind === "pinch" ? done : null;
  ui.groups.gesture.replaceChildren();
  if (!done || done.kind === "pinch" || !mount.ready) return;
  if (!done.moved) click(panel, placeIn(panel, event));
  else if (done.kind !== "pan") selectArea(panel, done.points, done.kind);
}

/**
 * A click pins a sample, asks about empty space, or clears the selection.
 * @param {Panel} panel
 * @param {Point} place
 */
function click(panel, place) {
  const { mount, held } = panel;
  const row = pick(panel, place);
  if (row !== null && row !== mount.state.pin) setPin(panel, row);
  else if (row !== null) closeProbe(mount);
  else if (held.meta.probe) askProbe(panel, ...place);
  else if (mount.state.selected.size) clearSelection(panel);
}

/**
 * @param {Panel} panel
 * @param {WheelEvent} event
 */
function wheel(panel, event) {
  const { mount, hand } = panel;
  if (!mount.ready) return;
  if (performance.now() - hand.wheelElsewhere < ELSEWHERE) {
    hand.wheelElsewhere = performance.now();
    return;
  }
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoomAt(mount, Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), placeIn(panel, event));
}
