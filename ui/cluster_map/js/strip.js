// Two models beside each other: who moved on the left only, on both sides, on the right only, on neither. The parts of
// the bar follow the dial; a click on one leaves all others out of both maps, a second click takes them back.

import * as core from "./core.js";
import { attribute, h, text } from "./dom.js";

/** @typedef {ReturnType<typeof create>} Strip */

const ORDER = [1, 3, 2, 0]; // left, both, right, neither, as core.sideOf says it
const NAMES = ["left", "both", "right", "neither"];
const WIDE = ["moved only left", "both", "only right", "neither"];
const STACKED = ["moved only above", "both", "only below", "neither"];
const LEAST = 112; // px from one number to the next

/** @param {(side: number | null) => void} ask gets the side that was asked for, or null */
export function create(ask) {
  const bar = h("div", { class: "bar", "aria-hidden": "true" });
  const names = h("div", { class: "names" });
  const label = "Who moved; each part filters both maps";
  const strip = {
    root: h("div", { class: "strip", "data-testid": "map-strip", role: "group", "aria-label": label }, bar, names),
    bar,
    names,
    ask,
    parts: /** @type {Part[]} */ ([]),
    shown: /** @type {number | null} */ (null),
    words: WIDE,
    counts: /** @type {number[] | null} */ (null),
    width: 0,
  };
  const press = (/** @type {number} */ side) => {
    strip.shown = strip.shown === side ? null : side;
    strip.ask(strip.shown);
    show(strip);
  };
  strip.parts = ORDER.map((side, i) => buildPart(side, i, () => press(side)));
  bar.append(...strip.parts.map((part) => part.segment));
  names.append(...strip.parts.map((part) => part.button));
  return strip;
}

/** @typedef {ReturnType<typeof buildPart>} Part */
/**
 * @param {number} side
 * @param {number} i
 * @param {() => void} press
 */
function buildPart(side, i, press) {
  const number = h("b");
  const name = h("span");
  const segment = h("i", { class: `part part-${i}`, onclick: press });
  const shell = { type: "button", "data-testid": `map-side-${NAMES[i]}`, onclick: press };
  return { side, number, name, segment, button: h("button", shell, number, name) };
}

/** @param {Strip} strip */
function show({ parts, counts, words, shown, width, names }) {
  if (!counts) return;
  const n = counts.reduce((a, b) => a + b, 0);
  /** @type {number[]} */
  const starts = [];
  let from = 0;
  parts.forEach(({ side, segment, number, name, button }, i) => {
    const count = counts[side];
    segment.style.flexGrow = String(count);
    segment.hidden = !count;
    text(number, core.group(count));
    text(name, `${words[i]}, ${core.percent(count, n)}`);
    attribute(button, "aria-pressed", String(shown === side));
    for (const part of [segment, button]) part.classList.toggle("aside", shown !== null && shown !== side);
    starts.push((from / n) * width);
    from += count;
  });
  const places = spread(starts, width);
  const fits = width >= parts.length * LEAST;
  names.classList.toggle("even", !fits);
  parts.forEach(({ button }, i) => {
    const last = i === parts.length - 1;
    button.style.left = fits && !last ? `${places[i]}px` : "";
  });
}

/**
 * Each number under its own part, never too near to the next; where that is too wide, one row of equals.
 * @param {number[]} starts
 * @param {number} width
 */
function spread(starts, width) {
  const places = starts.map((at, i) => Math.max(at, i * LEAST));
  for (let i = places.length - 1; i >= 0; i--) places[i] = Math.min(places[i], width - (places.length - i) * LEAST);
  for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + LEAST);
  return places;
}

/**
 * @param {Strip} strip
 * @param {number[]} counts neither, left, right, both
 */
export function update(strip, counts) {
  strip.counts = counts;
  show(strip);
}

/**
 * @param {Strip} strip
 * @param {number} width
 * @param {boolean} stacked
 */
export function resize(strip, width, stacked) {
  strip.width = width;
  strip.words = stacked ? STACKED : WIDE;
  show(strip);
}

/** @param {Strip} strip */
export function clear(strip) {
  strip.shown = null;
  show(strip);
}
