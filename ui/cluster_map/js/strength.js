// The dial's strength, and of two models whom the strip leaves on the maps; both in words for a screen reader.

import * as core from "./core.js";
import { filter } from "./points.js";
import { momentOf } from "./samples.js";
import { redraw, say, tell } from "./signals.js";

/** @import { Mount } from "./types.js" */

/**
 * @param {Mount} mount
 * @param {number} strength
 */
export function setStrength(mount, strength) {
  const { state, held, panels } = mount;
  state.strength = Math.min(held.meta.end, Math.max(0, strength));
  state.moving = true;
  for (const panel of panels) {
    panel.moment = null;
    panel.ui.card.hidden = true;
  }
  redraw(mount);
}

/**
 * The dial is at rest: the page hears of it.
 * @param {Mount} mount
 * @param {number} strength
 */
export function release(mount, strength) {
  const { state, root } = mount;
  setStrength(mount, strength);
  state.moving = false;
  root.dataset.intervals = mount.intervals.map((v) => v.toFixed(1)).join(" ");
  mount.intervals = [];
  mount.lastFrame = 0;
  tell(mount, "trigger", "strength", state.strength);
  say(mount, `At strength ${state.strength.toFixed(3)}, ${mount.strip ? jointWords(mount) : movedWords(mount)}.`);
}

/** @param {Mount} mount */
function movedWords({ panels: [panel], held: { meta } }) {
  const { moved, flow } = momentOf(panel);
  const where = meta.target === null ? "left their cluster" : `moved into cluster ${meta.target}`;
  const top = flow?.largest;
  const largest = top ? `; ${top.from} to ${top.to} is the largest flow` : "";
  return `${core.group(moved)} of ${core.group(panel.points.m)} samples ${where}${largest}`;
}

/** @param {Mount} mount */
function jointWords({ panels: [panel] }) {
  const { smallest, other, m } = panel.points;
  const counts = core.joint(smallest ?? [], other ?? [], momentOf(panel).q);
  const [neither, left, right, both] = counts.map(core.group);
  const sides = `${both} on both sides, ${right} only on the right, ${neither} on neither`;
  return `${left} of ${core.group(m)} samples moved only on the left, ${sides}`;
}

/**
 * @param {Mount} mount
 * @param {number | null} side null: all samples are shown
 */
export function showSide(mount, side) {
  mount.state.side = side;
  if (side === null) {
    mount.panels.forEach(filter);
    say(mount, "All samples shown.");
  } else {
    const who = ["neither moves", "only the left one moves", "only the right one moves", "both move"][side];
    say(mount, `Samples shown that ${who}: ${core.group(mount.counts?.[side] ?? 0)}.`);
  }
  redraw(mount, true);
}
