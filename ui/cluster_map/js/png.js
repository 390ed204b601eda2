// The map as a PNG to save: both layers, and what lies above them on the page.

import { screen } from "./camera.js";
import { context2d, h } from "./dom.js";
import { paint } from "./frame.js";
import { momentOf } from "./samples.js";

/** @import { Label, Mount, Panel } from "./types.js" */
/** @typedef {CanvasRenderingContext2D} Context */

/** @param {number[]} colour */
const css = (colour) => `rgb(${colour.map((v) => Math.round(v * 255)).join(",")})`;

/**
 * Draws and reads in one task, since the drawing buffers are not kept.
 * @param {Mount} mount
 */
export function savePng(mount) {
  const { ui, state, panels, root } = mount;
  const { dpr, theme } = state;
  const canvas = h("canvas", { width: ui.still.width, height: ui.still.height });
  const context = context2d(canvas);
  context.fillStyle = css(theme.ground);
  context.fillRect(0, 0, canvas.width, canvas.height);
  paint(mount, true, panels.map(momentOf));
  context.drawImage(ui.still, 0, 0);
  context.drawImage(ui.live, 0, 0);
  context.lineJoin = "round";
  const family = getComputedStyle(root).fontFamily;
  for (const panel of panels) {
    context.setTransform(dpr, 0, 0, dpr, panel.place[0] * dpr, panel.place[1] * dpr);
    if (panels.length > 1) drawHead(panel, context, family);
    if (state.options.show_labels) for (const label of panel.points.labels) drawLabel(panel, context, family, label);
    for (const element of panel.ui.groups.trail.children) drawShape(context, element);
  }
  canvas.toBlob((blob) => {
    if (!blob) return;
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: "driftmap.png" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });
}

/**
 * @param {Panel} panel
 * @param {Context} context
 * @param {string} family
 */
function drawHead({ ui, mount }, context, family) {
  Object.assign(context, { font: `600 13px ${family}`, textAlign: "left", fillStyle: css(mount.state.theme.ink) });
  context.fillText(ui.name.textContent ?? "", 0, -12);
}

/**
 * @param {Panel} panel
 * @param {Context} context
 * @param {string} family
 * @param {Label} label
 */
function drawLabel({ mount: { state } }, context, family, { at, cluster, full, size }) {
  const { theme } = state;
  const [x, y] = screen(state, at);
  context.fillStyle = theme.hues[cluster % 10];
  context.beginPath();
  context.arc(x - 13, y - 6, 4, 0, 7);
  context.fill();
  const write = (/** @type {string} */ word, /** @type {number} */ wx, /** @type {number} */ wy) => {
    context.strokeText(word, wx, wy);
    context.fillText(word, wx, wy);
  };
  Object.assign(context, { lineWidth: 4, strokeStyle: css(theme.ground), fillStyle: css(theme.ink) });
  Object.assign(context, { font: `600 15px ${family}`, textAlign: "left" });
  write(String(cluster), x - 4, y - 1);
  if (!full) return;
  Object.assign(context, { font: `400 12px ${family}`, textAlign: "center" });
  write(size.textContent ?? "", x, y + 15);
}

/**
 * A shape of the pinned sample's way.
 * @param {Context} context
 * @param {Element} element
 */
function drawShape(context, element) {
  const { fill, stroke, strokeWidth, strokeDasharray } = getComputedStyle(element);
  const shape = new Path2D(element.tagName === "path" ? (element.getAttribute("d") ?? "") : "");
  if (element.tagName === "circle") {
    const [cx, cy, r] = ["cx", "cy", "r"].map((name) => Number(element.getAttribute(name)));
    shape.arc(cx, cy, r, 0, 7);
  }
  if (fill !== "none") {
    context.fillStyle = fill;
    context.fill(shape);
  }
  context.setLineDash(strokeDasharray === "none" ? [] : strokeDasharray.split(",").map(parseFloat));
  if (stroke !== "none") {
    context.strokeStyle = stroke;
    context.lineWidth = parseFloat(strokeWidth);
    context.stroke(shape);
  }
}
