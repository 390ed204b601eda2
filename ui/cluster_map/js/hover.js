// The sample under the pointer, and the card that says what it is.

import { scale, screen, unscreen } from "./camera.js";
import * as core from "./core.js";
import { context2d, h, swatch } from "./dom.js";
import { leftOut } from "./points.js";
import { showRings } from "./rings.js";
import { clusterOf, colourValue, labelOf, momentOf, pathAt, placeOf, rowAt } from "./samples.js";
import { later } from "./signals.js";
import { tileOf } from "./tiles.js";

/** @import { Panel, Point } from "./types.js" */

const REACH = 14; // px
const DWELL = 125; // ms until the card comes

/**
 * The row of the sample at a place of the screen; null where there is none near.
 * @param {Panel} panel
 * @param {Point} place
 */
export function pick(panel, [x, y]) {
  const { points, mount } = panel;
  const { state } = mount;
  const { path } = points;
  const [ux, uy] = unscreen(state, x, y);
  const S = scale(state);
  let best = /** @type {number | null} */ (null);
  let least = REACH;
  if (!state.options.only_moved) {
    const found = core.nearest(points.index, ux * 65535, uy * 65535, (REACH / S) * 65535);
    if (found.at >= 0) {
      best = rowAt(panel, found.at);
      least = (found.distance / 65535) * S;
    }
  }
  if (!path) return best;
  const moment = momentOf(panel);
  const last = state.options.only_moved ? moment.moved : points.m;
  for (let j = 0; j < last; j++) {
    if (leftOut(panel, j)) continue;
    const [px, py] = pathAt(path, moment, j);
    const d = Math.hypot((px - ux) * S, (py - uy) * S);
    // Of two points at one place the one drawn on top is meant.
    if (d < least || (d === least && j < moment.moved)) {
      least = d;
      best = path.rows[j];
    }
  }
  return best;
}

/**
 * @param {Panel} panel
 * @param {Point} place
 */
export function hoverAt(panel, place) {
  const { mount, ui } = panel;
  const row = pick(panel, place);
  if (row === mount.state.hover) return;
  mount.state.hover = row;
  ui.card.hidden = true;
  clearTimeout(mount.timers.card);
  ui.stage.style.cursor = row !== null ? "pointer" : "";
  showRings(mount);
  if (row !== null) later(mount, "card", DWELL, () => showCard(panel, mount.state.hover));
}

/** @param {Panel} panel */
export function endHover({ mount, ui }) {
  if (mount.state.hover === null) return;
  mount.state.hover = null;
  ui.card.hidden = true;
  showRings(mount);
}

/**
 * @param {Panel} panel
 * @param {number | null} row
 */
export function showCard(panel, row) {
  const { mount, ui } = panel;
  const { state } = mount;
  const at = row === null || state.moving ? null : placeOf(panel, row);
  ui.card.hidden = row === null || !at;
  if (row === null || !at) return;
  const picture = pictureOf(panel, row);
  ui.card.replaceChildren(...(picture ? [picture] : []), linesOf(panel, row));
  ui.card.dataset.row = String(row);
  const [x, y] = screen(state, at);
  const box = ui.card.getBoundingClientRect();
  const flip = x + 16 + box.width > state.width;
  ui.card.style.left = `${Math.max(0, flip ? x - 14 - box.width : x + 14)}px`;
  ui.card.style.top = `${Math.max(0, Math.min(state.height - box.height, y - box.height / 2))}px`;
}

/**
 * A sample's image, empty until its sheet has come.
 * @param {Panel} panel
 * @param {number} row
 */
function pictureOf({ mount, held }, row) {
  const tile = tileOf(mount, row);
  const { sprites } = held.meta;
  if (!sprites) return null;
  const canvas = h("canvas", { width: sprites.w, height: sprites.h, "aria-hidden": "true" });
  if (tile) context2d(canvas).drawImage(tile.bitmap, tile.x, tile.y, tile.w, tile.h, 0, 0, tile.w, tile.h);
  return canvas;
}

/**
 * @param {Panel} panel
 * @param {number} row
 */
function linesOf(panel, row) {
  const { points, held } = panel;
  const cluster = clusterOf(panel, row);
  const label = labelOf(panel, row);
  const confidence = colourValue(panel, "confidence", row);
  const line = (/** @type {string} */ words) => h("span", { text: words });
  const name = h("b", { text: `Sample ${row}` });
  const lines = h("div", {}, name, h("span", {}, swatch(cluster), `cluster ${cluster}`));
  if (label !== null) lines.append(line(`label ${label}`));
  if (confidence !== null) lines.append(line(`confidence ${(confidence / 254).toFixed(2)}`));
  const j = points.rowToPath[row];
  if (points.smallest && j >= 0) {
    const { end } = held.meta;
    const q = points.smallest[j];
    const moves = q > core.TOP ? `unmoved up to ${core.brief(end)}` : `moves at ${core.fine((q / core.TOP) * end)}`;
    lines.append(line(moves));
  }
  return lines;
}
