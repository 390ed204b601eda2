// The camera: one for all panels of a mount. Places are units of the square that holds all, pixels, or map units.

import { later, redraw, tell } from "./signals.js";

/** @import { Box, Meta, Mount, Point, State } from "./types.js" */
/** @typedef {[zoom: number, cx: number, cy: number]} View */

const MIN_ZOOM = 0.7;
const MAX_ZOOM = 60;

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * Pixels per unit.
 * @param {State} state
 */
export const scale = (state) => state.fit * state.zoom;

/**
 * @param {State} state
 * @param {Point} place
 * @returns {Point}
 */
export function screen(state, [x, y]) {
  const S = scale(state);
  return [state.width / 2 + (x - state.cx) * S, state.height / 2 - (y - state.cy) * S];
}

/**
 * @param {State} state
 * @param {number} x
 * @param {number} y
 * @returns {Point}
 */
export function unscreen(state, x, y) {
  const S = scale(state);
  return [state.cx + (x - state.width / 2) / S, state.cy - (y - state.height / 2) / S];
}

/**
 * @param {Meta} meta
 * @param {Point} place
 * @returns {Point}
 */
export const toMap = ({ origin }, [x, y]) => [origin[0] + x * origin[2], origin[1] + y * origin[2]];

/**
 * The box that is seen, in map units.
 * @param {Mount} mount
 */
export function visible({ state, held: { meta } }) {
  const { width, height } = state;
  return [...toMap(meta, unscreen(state, 0, height)), ...toMap(meta, unscreen(state, width, 0))];
}

/**
 * Fits the whole map into a panel, with a margin for its labels.
 * @param {Mount} mount
 */
export function fit({ state, held: { meta }, panels }) {
  const [x0, y0, x1, y1] = meta.box;
  const narrow = state.width < 480;
  const px = narrow ? 24 : panels.length > 1 ? 34 : 44;
  const py = narrow ? 24 : 28;
  const across = (state.width - 2 * px) / Math.max(1e-6, x1 - x0);
  state.fit = Math.min(across, (state.height - 2 * py) / Math.max(1e-6, y1 - y0));
}

/**
 * The whole map.
 * @param {Meta} meta
 * @returns {View}
 */
export const home = ({ box }) => [1, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2];

/**
 * @param {Mount} mount
 * @param {View} view
 */
export function setCamera(mount, [zoom, cx, cy]) {
  const { state, held, panels, ui } = mount;
  const [x0, y0, x1, y1] = held.meta.box;
  state.zoom = clamp(zoom, MIN_ZOOM, MAX_ZOOM);
  state.cx = clamp(cx, x0, x1);
  state.cy = clamp(cy, y0, y1);
  for (const panel of panels) panel.ui.card.hidden = true;
  for (const stage of ui.stages) stage.classList.toggle("zoomed", state.zoom > 1.001);
  redraw(mount, true);
  if (!held.parts.control.camera) return;
  later(mount, "camera", 450, () => {
    const whole = Math.abs(state.zoom - 1) < 1e-3;
    tell(mount, "state", "camera", whole ? [] : visible(mount));
  });
}

/**
 * Zooms about a place of the screen, which stays where it is.
 * @param {Mount} mount
 * @param {number} factor
 * @param {Point} [place] the middle where it is left out
 */
export function zoomAt(mount, factor, place) {
  const { state } = mount;
  const [x, y] = place ?? [state.width / 2, state.height / 2];
  const zoom = clamp(state.zoom * factor, MIN_ZOOM, MAX_ZOOM);
  const [ux, uy] = unscreen(state, x, y);
  const S = state.fit * zoom;
  setCamera(mount, [zoom, ux - (x - state.width / 2) / S, uy + (y - state.height / 2) / S]);
}

/**
 * A camera that shows a box.
 * @param {State} state
 * @param {Box} box
 * @returns {View}
 */
function onto(state, [x0, y0, x1, y1]) {
  const across = (state.width * 0.8) / Math.max(x1 - x0, 1e-3);
  const down = (state.height * 0.8) / Math.max(y1 - y0, 1e-3);
  const zoom = clamp(Math.min(across, down) / state.fit, 1, MAX_ZOOM);
  return [zoom, (x0 + x1) / 2, (y0 + y1) / 2];
}

/**
 * To a box, or to the whole map; a short tween, or at once where motion is unwanted.
 * @param {Mount} mount
 * @param {Box | null} box
 */
export function flyTo(mount, box) {
  const { state, held, calm } = mount;
  if (!state.width) return later(mount, "zoom", 60, () => flyTo(mount, box));
  const to = box ? onto(state, box) : home(held.meta);
  if (calm.matches) return setCamera(mount, to);
  const from = [state.zoom, state.cx, state.cy];
  const begin = performance.now();
  const step = (/** @type {number} */ time) => {
    const u = clamp((time - begin) / 320, 0, 1);
    const e = u * u * (3 - 2 * u);
    const [cx, cy] = [from[1] + (to[1] - from[1]) * e, from[2] + (to[2] - from[2]) * e];
    setCamera(mount, [from[0] * (to[0] / from[0]) ** e, cx, cy]);
    if (u < 1) mount.flight = requestAnimationFrame(step);
  };
  cancelAnimationFrame(mount.flight);
  mount.flight = requestAnimationFrame(step);
}
