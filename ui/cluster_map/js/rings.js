// Rings around the points under the pointer and at the keyboard, and the cross at the spot that was asked about.

import { screen } from "./camera.js";
import { s } from "./dom.js";
import { placeOf } from "./samples.js";

/** @import { Mount, Panel } from "./types.js" */

/** @param {Panel} panel */
export function showPanelRings(panel) {
  const { state } = panel.mount;
  const { groups } = panel.ui;
  ring(panel, groups.hover, state.hover, 6.5);
  ring(panel, groups.focus, state.focus, 9);
  groups.probe.replaceChildren();
  if (!state.probeAt || state.probe === undefined) return;
  const [x, y] = screen(state, state.probeAt);
  const d = `M${x - 7} ${y}h14M${x} ${y - 7}v14`;
  groups.probe.append(s("path", { class: "halo", d }), s("path", { class: "way", d }));
}

/**
 * @param {Panel} panel
 * @param {SVGGElement} layer
 * @param {number | null} row
 * @param {number} r
 */
function ring(panel, layer, row, r) {
  const at = row === null ? null : placeOf(panel, row);
  layer.replaceChildren();
  if (!at) return;
  const [cx, cy] = screen(panel.mount.state, at);
  layer.append(s("circle", { class: "around", cx, cy, r }));
}

/** @param {Mount} mount */
export function showRings({ panels }) {
  for (const panel of panels) showPanelRings(panel);
}
