// Colours: those of the page's theme, the clusters' hues, and the ramp of a number.

import { context2d } from "./dom.js";

/** @import { Theme } from "./types.js" */

// Petroff-10; the light theme gives the four pale hues an edge, the dark one lightens the two deep ones.
const HUES = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split(" ");
/** @type {Record<number, string>} */
const EDGES = { 1: "#c18517", 3: "#869594", 7: "#9b9263", 9: "#6a9a9e" };
/** @type {Record<number, string>} */
const DARK = { 2: "#c23115", 4: "#9246bf" };
// Cividis in ten stops: low values dark.
const RAMP = "#00224e #123570 #3b496c #575d6d #707173 #8a8779 #a59c74 #c3b369 #e1cc55 #fee838".split(" ");

/** @param {string} hex */
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/**
 * Any CSS colour as three numbers in [0, 1]; the theme's variables may hold any notation.
 * @param {string} value
 * @param {string} fallback
 */
function parseColour(value, fallback) {
  const context = context2d(document.createElement("canvas"));
  context.fillStyle = fallback;
  context.fillStyle = value;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((v) => v / 255);
}

/**
 * @param {Element} host
 * @returns {Theme}
 */
export function readTheme(host) {
  const style = getComputedStyle(host);
  const variable = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const ground = parseColour(variable("--st-background-color"), "#ffffff");
  const ink = parseColour(variable("--st-text-color"), "#23282e");
  const pane = parseColour(variable("--st-secondary-background-color"), "#f5f6f7");
  const dark = 0.3 * ground[0] + 0.59 * ground[1] + 0.11 * ground[2] < 0.5;
  const hues = HUES.map((hue, i) => (dark ? (DARK[i] ?? hue) : hue));
  const edges = hues.map((hue, i) => (dark ? hue : (EDGES[i] ?? hue)));
  const ramp = dark ? [...RAMP].reverse() : RAMP;
  const signed = (dark ? ["#56aaa0", "#cd78a5"] : ["#288078", "#b05487"]).map(rgb);
  return { ground, ink, pane, dark, hues, edges, ramp, signed, rgb: hues.map(rgb), rampRgb: ramp.map(rgb) };
}

/**
 * The hues as the renderers take them, three bytes each.
 * @param {Theme} theme
 */
export const paletteOf = (theme) => new Uint8Array(theme.rgb.flat());

/**
 * @param {number[]} a
 * @param {number[]} b
 * @param {number} t
 */
export const blend = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);

/**
 * A colour of the ramp at [0, 1].
 * @param {number[][]} rampRgb
 * @param {number} value
 */
export function onRamp(rampRgb, value) {
  const at = Math.min(1, Math.max(0, value)) * (rampRgb.length - 1);
  const i = Math.min(rampRgb.length - 2, Math.floor(at));
  return blend(rampRgb[i], rampRgb[i + 1], at - i);
}
