// The histogram of smallest strengths: darker up to the dial, a triangle for the pin.

import * as core from "./core.js";
import { attribute, s } from "./dom.js";

/** @typedef {ReturnType<typeof create>} Histogram */

const BINS = 60;

export function create() {
  return {
    root: s("svg", { class: "histogram", height: 46, "aria-hidden": "true" }),
    counts: /** @type {Uint32Array | null} */ (null),
    rects: /** @type {SVGRectElement[]} */ ([]),
    mark: s("path", { class: "flip" }),
    width: 0,
    lit: -1,
  };
}

/** @param {Histogram} chart */
function draw(chart) {
  const { root, counts, width, mark } = chart;
  if (!counts || !width) return;
  attribute(root, "viewBox", `0 0 ${width} 46`);
  chart.lit = -1;
  const highest = Math.max(1, ...counts);
  chart.rects = [...counts].map((count, i) => {
    const tall = count ? Math.max(1, (count / highest) * 33) : 0;
    return s("rect", { x: (i * width) / BINS + 0.5, width: width / BINS - 1, y: 34 - tall, height: tall });
  });
  const ground = s("line", { class: "hair strong", x1: 0, x2: width, y1: 34, y2: 34 });
  mark.removeAttribute("d");
  root.replaceChildren(ground, ...chart.rects, mark);
}

/**
 * @param {Histogram} chart
 * @param {Uint16Array} smallest
 */
export function setup(chart, smallest) {
  chart.counts = core.histogram(smallest, BINS);
  draw(chart);
}

/**
 * @param {Histogram} chart
 * @param {number} width
 */
export function resize(chart, width) {
  chart.width = width;
  draw(chart);
}

/**
 * @param {Histogram} chart
 * @param {number} share where the dial is
 * @param {number | null} pinShare where the pinned sample moves
 */
export function update(chart, share, pinShare) {
  const { rects, mark, width } = chart;
  if (!rects.length) return;
  const now = Math.round(share * BINS);
  if (now !== chart.lit) {
    for (const [i, rect] of rects.entries()) rect.classList.toggle("lit", i < now);
    chart.lit = now;
  }
  attribute(mark, "d", pinShare === null ? "" : `M${pinShare * width - 4.5} 44 h9 l-4.5 -8 Z`);
}
