// A spot on the map that the model is asked about.

import { toMap, unscreen } from "./camera.js";
import * as inspector from "./inspector.js";
import { redraw, tell } from "./signals.js";

/** @import { Mount, Panel } from "./types.js" */

/** @param {Mount} mount */
export function closeProbe(mount) {
  mount.state.probe = undefined;
  mount.state.probeAt = null;
  if (mount.inspector) inspector.showProbe(mount.inspector, undefined);
  redraw(mount);
}

/**
 * @param {Panel} panel
 * @param {number} x
 * @param {number} y
 */
export function askProbe({ mount, held }, x, y) {
  const at = unscreen(mount.state, x, y);
  mount.state.probeAt = at;
  mount.state.probe = null;
  if (mount.inspector) inspector.showProbe(mount.inspector, null);
  tell(mount, "trigger", "probe", toMap(held.meta, at));
  redraw(mount);
}

/**
 * Takes an answer that has come, if it is for the spot that was asked about; a map that has just been mounted takes it
 * over.
 * @param {Mount} mount
 */
export function takeAnswer(mount) {
  const { state, held, runs } = mount;
  const { probe } = held.parts;
  const p = held.extra["probe.p"];
  const over = state.probe === undefined && runs <= 1 && state.pin === null;
  if (!probe || !p || !(state.probe === null || over)) return;
  const asked = state.probeAt;
  if (asked && Math.hypot(asked[0] - probe.x, asked[1] - probe.y) >= 1e-4) return;
  state.probeAt = [probe.x, probe.y];
  state.probe = { ...probe, p, image: held.extra["probe.image"] };
  if (mount.inspector) inspector.showProbe(mount.inspector, state.probe);
}
