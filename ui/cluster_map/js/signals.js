// What a mount says: to the page, to a screen reader, and that a frame is due.

/** @import { Mount } from "./types.js" */

/**
 * Tells the page. A state is kept until it is told anew, a trigger is told once.
 * @param {Mount} mount
 * @param {"state" | "trigger"} kind
 * @param {string} name
 * @param {unknown} value
 */
export function tell(mount, kind, name, value) {
  const { send, root } = mount;
  const { strength, pin, serials } = mount.state;
  mount.sent++;
  root.dataset.sent = String(mount.sent);
  // Of two triggers that wait for one run of the page the server keeps the last: each tells where dial and
  // pin stand, and what the page set of them last.
  send[kind](name, kind === "trigger" ? { value, strength, pin, serials: { ...serials } } : value);
}

/**
 * Does something after a while, unless it is asked for anew by then.
 * @param {Mount} mount
 * @param {string} name
 * @param {number} ms
 * @param {() => void} action
 */
export function later({ timers }, name, ms, action) {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(action, ms);
}

/**
 * @param {Mount} mount
 * @param {string} words
 */
export function say({ ui }, words) {
  ui.spoken.textContent = words;
}

/**
 * Asks for a frame; `stillToo`: regions and base points look different too.
 * @param {Mount} mount
 * @param {boolean} stillToo
 */
export function redraw(mount, stillToo = false) {
  mount.stale ||= stillToo;
  if (!mount.raf && mount.ready && mount.state.width) mount.raf = requestAnimationFrame(mount.draw);
}
