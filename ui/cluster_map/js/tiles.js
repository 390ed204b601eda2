// Small images of the samples, cut from sheets that are asked for when one is first needed.

import { tell } from "./signals.js";

/** @import { Mount, Sprites, Tile } from "./types.js" */

const PATIENCE = 5000; // ms until a sheet is asked for again

/**
 * The image of a row, if its sheet is here.
 * @param {Mount} mount
 * @param {number} row
 * @returns {Tile | null}
 */
export function heldTile({ held, tiles }, row) {
  const { sprites } = held.meta;
  const bitmap = sprites && tiles.get(sheetOf(sprites, row));
  if (!sprites || !bitmap) return null;
  const { per, columns, w, h } = sprites;
  const i = row % per;
  return { bitmap, x: (i % columns) * w, y: Math.floor(i / columns) * h, w, h };
}

/**
 * The same; asks for the sheet where it is missing.
 * @param {Mount} mount
 * @param {number} row
 */
export function tileOf(mount, row) {
  const { asked, held, state } = mount;
  const { sprites } = held.meta;
  const tile = heldTile(mount, row);
  if (tile || !sprites || state.moving) return tile;
  const number = sheetOf(sprites, row);
  // Asked again only after a while: the page may be busy, and a patch may have been overtaken.
  if (performance.now() - (asked.get(number) ?? -Infinity) < PATIENCE) return null;
  asked.set(number, performance.now());
  tell(mount, "trigger", "tiles", [number]);
  return null;
}

/**
 * @param {Sprites} sprites
 * @param {number} row
 */
const sheetOf = (sprites, row) => Math.floor(row / sprites.per);
