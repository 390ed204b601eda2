// A message from the page: what it changes.

import { flyTo } from "./camera.js";
import * as core from "./core.js";
import * as dial from "./dial.js";
import { restyle } from "./frame.js";
import { rasterOf } from "./geometry.js";
import { showCard } from "./hover.js";
import * as inspector from "./inspector.js";
import { closeProbe, takeAnswer } from "./probe.js";
import { recall } from "./remount.js";
import { setup } from "./setup.js";
import { later, redraw, tell } from "./signals.js";
import { paletteOf, readTheme } from "./theme.js";

/** @import { AnyArray, Control, Mount } from "./types.js" */

/**
 * @param {Mount} mount
 * @param {Uint8Array} bytes
 */
export function receive(mount, bytes) {
  mount.runs++;
  mount.root.dataset.runs = String(mount.runs);
  takeTheme(mount);
  const message = core.parse(bytes);
  const { held, state, panels } = mount;
  const changed = core.merge(held, message);
  if (!changed) return askForBase(mount, message.header.base);
  state.asking = null;
  for (const other of panels.slice(1)) {
    Object.assign(other.held, { base: held.base, parts: held.parts, extra: held.extra });
  }
  state.options = held.parts.options; // a mount that had to ask for the base has a size by now, and is drawn at once
  if (changed.base) setup(mount);
  for (const [number, png] of changed.tiles) keepTile(mount, number, png);
  takeControl(mount);
  takeAnswer(mount);
  restyle(mount);
}

/**
 * The page sent a patch for a base that this mount never got: ask for the whole once.
 * @param {Mount} mount
 * @param {string} base
 */
function askForBase(mount, base) {
  if (mount.state.asking === base) return;
  mount.state.asking = base;
  tell(mount, "trigger", "resend", base);
}

/** @param {Mount} mount */
function takeTheme({ root, state, held, panels, ready, inspector: side }) {
  const theme = readTheme(root);
  state.theme = theme;
  theme.hues.forEach((hue, i) => {
    root.style.setProperty(`--hue-${i}`, hue);
    root.style.setProperty(`--edge-${i}`, theme.edges[i]);
  });
  root.classList.toggle("dark", theme.dark);
  if (side) inspector.redraw(side);
  if (ready) panels[0].renderer.setRaster(rasterOf(held.geometry), paletteOf(theme));
}

/**
 * @param {Mount} mount
 * @param {number} number
 * @param {AnyArray} png
 */
async function keepTile(mount, number, png) {
  const { tiles, root, panels, state } = mount;
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(png)], { type: "image/png" }));
  tiles.set(number, bitmap);
  root.dataset.tiles = String(tiles.size);
  if (mount.inspector) inspector.redraw(mount.inspector);
  for (const panel of panels) if (state.hover !== null && !panel.ui.card.hidden) showCard(panel, state.hover);
  redraw(mount);
}

/**
 * What the page has set from outside and this mount has not yet heard.
 * @param {Mount} mount
 */
function takeControl(mount) {
  const { state, held } = mount;
  const { control } = held.parts;
  if (control.mount !== state.mount) {
    state.mount = control.mount;
    state.serials = {};
    recall(mount);
  }
  const strength = fresh(mount, "strength");
  const pin = fresh(mount, "pin");
  const select = fresh(mount, "select");
  const zoom = fresh(mount, "zoom");
  if (strength !== undefined) {
    dial.stop(mount.dial);
    state.strength = strength;
  }
  if (pin !== undefined) {
    state.pin = pin < 0 ? null : pin;
    if (state.pin !== null) closeProbe(mount);
  }
  if (select !== undefined) state.selected = new Set(held.extra["control.select"]);
  if (zoom !== undefined) later(mount, "zoom", 0, () => flyTo(mount, zoom === "all" ? null : zoom));
}

/**
 * A control's value where it is news, else undefined.
 * @template {"strength" | "pin" | "select" | "zoom"} Name
 * @param {Mount} mount
 * @param {Name} name
 * @returns {NonNullable<Control[Name]>[1] | undefined}
 */
function fresh({ state, held }, name) {
  const entry = held.parts.control[name];
  if (!entry || entry[0] <= (state.serials[name] ?? 0)) return undefined;
  state.serials[name] = entry[0];
  return entry[1];
}
