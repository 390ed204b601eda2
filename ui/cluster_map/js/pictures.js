// Small pictures: bytes, or a signed change, into a canvas.

import { context2d } from "./dom.js";
import { blend } from "./theme.js";

/** @import { Theme } from "./types.js" */
/** @typedef {(index: number) => number} Read a value of (channels, height, width) ones by its index */

/**
 * Draws (c, h, w) bytes into a canvas of that size.
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} shape
 * @param {Read} value
 */
export function paint(canvas, [c, height, width], value) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = context2d(canvas);
  const image = context.createImageData(width, height);
  const area = width * height;
  for (let i = 0; i < area; i++) {
    for (let j = 0; j < 3; j++) image.data[4 * i + j] = value((c === 3 ? j : 0) * area + i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/**
 * Draws a signed change of strength `scale` in the diverging colours; channels are averaged.
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} shape
 * @param {Read} value
 * @param {number} scale
 * @param {Theme} theme
 */
export function paintChange(canvas, [c, height, width], value, scale, theme) {
  canvas.width = width;
  canvas.height = height;
  const context = context2d(canvas);
  const image = context.createImageData(width, height);
  const area = width * height;
  const middle = theme.pane.map((v) => v * 255);
  for (let i = 0; i < area; i++) {
    let sum = 0;
    for (let j = 0; j < c; j++) sum += value(j * area + i);
    const v = scale > 0 ? Math.max(-1, Math.min(1, sum / c / scale)) : 0;
    const colour = blend(middle, theme.signed[v < 0 ? 0 : 1], Math.abs(v));
    for (let j = 0; j < 3; j++) image.data[4 * i + j] = colour[j];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
