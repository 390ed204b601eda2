// What a map that the browser takes down hands to the one that it puts up in its stead.

/** @import { Mount, State } from "./types.js" */

/** @typedef {Pick<State, "strength" | "pin" | "selected" | "zoom" | "cx" | "cy" | "serials">} Left */

/** @type {Map<string, Left>} */
const left = new Map();
const MOST = 8; // pages that one may come back to

/**
 * Streamlit may put the same map up anew. The page has no news for it then: it never sends back what the browser
 * itself has set.
 * @param {Mount} mount
 */
export function remember({ state: { mount, strength, pin, selected, zoom, cx, cy, serials } }) {
  left.delete(mount); // the youngest stands last
  left.set(mount, { strength, pin, selected, zoom, cx, cy, serials });
  if (left.size > MOST) left.delete(left.keys().next().value ?? "");
}

/**
 * Takes over what was left by a map that the page knows by the same name.
 * @param {Mount} mount
 */
export function recall({ state, held: { meta } }) {
  const found = left.get(state.mount);
  if (!found) return;
  Object.assign(state, found);
  state.strength = Math.min(state.strength, meta.end || 0);
  if (state.pin !== null && state.pin >= meta.total) state.pin = null;
}
