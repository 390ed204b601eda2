// The chart over the dial: the share of samples that have moved, strength by strength, on the dial's own axis.

import * as core from "./core.js";
import { attribute, s } from "./dom.js";

/** @typedef {ReturnType<typeof create>} Curve */
/** @typedef {ReturnType<typeof buildMarks>} Marks */
/**
 * @typedef {object} DialView
 * @property {number} end
 * @property {number[]} strengths
 * @property {Uint16Array} smallest
 * @property {Uint16Array | null} noise
 * @property {string} attack
 * @property {string} unit
 * @property {string} verb what the attack has done to those that moved
 * @property {string} noiseVerb
 * @property {string} name of the model, where two are compared
 * @property {{ name: string, smallest: Uint16Array, noise: Uint16Array | null } | null} second
 */

const LEFT = 44;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 82;
const HEIGHT = 100;

export function create() {
  const root = s("svg", { class: "curve", "data-testid": "map-curve", height: HEIGHT, "aria-hidden": "true" });
  return { root, width: 0, view: /** @type {DialView | null} */ (null), marks: buildMarks() };
}

function buildMarks() {
  return {
    hair: s("line", { class: "now", y1: TOP - 6, y2: BOTTOM }),
    flip: s("path", { class: "flip" }),
    flip2: s("path", { class: "flip second" }),
    noise: s("circle", { class: "dot", r: 3 }),
    second: s("circle", { class: "dot second", r: 4 }),
    dot: s("circle", { class: "dot", r: 4 }),
  };
}

/** @param {Curve} curve */
const span = (curve) => curve.width - LEFT - RIGHT;
/**
 * @param {Curve} curve
 * @param {DialView} view
 * @param {number} strength
 */
const x = (curve, view, strength) => LEFT + (strength / view.end) * span(curve);
/** @param {number} share */
const y = (share) => BOTTOM - share * (BOTTOM - TOP);
/**
 * @param {DialView} view
 * @param {Uint16Array} sorted
 * @param {number} strength
 */
const shareAt = (view, sorted, strength) => core.countUpTo(sorted, core.threshold(strength, view.end)) / sorted.length;

/**
 * The strength at a place of the screen.
 * @param {Curve} curve
 * @param {number} clientX
 */
export function strengthAt(curve, clientX) {
  const at = (clientX - curve.root.getBoundingClientRect().left - LEFT) / span(curve);
  return Math.min(1, Math.max(0, at)) * (curve.view?.end ?? 0);
}

/**
 * @param {number} at
 * @param {number} y0
 * @param {"start" | "middle" | "end"} anchor
 * @param {string} name
 * @param {string} words
 */
const label = (at, y0, anchor, name, words) =>
  s("text", { x: at, y: y0, "text-anchor": anchor, class: name, text: words });

/**
 * Draws everything anew, for another view or width.
 * @param {Curve} curve
 */
export function draw(curve) {
  const { root, width, view } = curve;
  if (!view || !width) return;
  root.replaceChildren();
  attribute(root, "width", width);
  attribute(root, "viewBox", `0 0 ${width} ${HEIGHT}`);
  root.append(...axes(curve, view), ...lines(curve, view), ...names(curve, view));
  curve.marks = buildMarks();
  if (!view.noise) curve.marks.noise.style.display = "none";
  if (!view.second) curve.marks.second.style.display = "none";
  root.append(...Object.values(curve.marks));
}

/**
 * @param {Curve} curve
 * @param {DialView} view
 */
function axes(curve, view) {
  const across = (/** @type {number} */ y1, /** @type {string} */ name) =>
    s("line", { x1: LEFT, x2: curve.width - RIGHT, y1, y2: y1, class: name });
  const step = (/** @type {number} */ at) => s("line", { x1: at, x2: at, y1: BOTTOM, y2: BOTTOM + 3, class: "step" });
  return [
    ...[across(y(1), "hair"), across(y(0.5), "hair"), across(y(0), "hair strong")],
    label(LEFT - 8, y(1) + 4, "end", "tick", "100 %"),
    label(LEFT - 8, y(0.5) + 4, "end", "tick", "50"),
    label(LEFT - 8, y(0) + 4, "end", "tick", "0"),
    ...core
      .ticks(view.end, curve.width < 480 ? 4 : 8)
      .map(({ value, text }) => label(x(curve, view, value), HEIGHT - 3, "middle", "tick", text)),
    ...view.strengths.map((value) => step(x(curve, view, value))),
  ];
}

/**
 * The points of a curve, as a path without its first command.
 * @param {Curve} curve
 * @param {DialView} view
 * @param {Uint16Array} sorted
 */
function pointsOf(curve, view, sorted) {
  const points = [];
  for (let px = 0; px <= span(curve); px += 1.5) {
    const value = Math.min(view.end, (px / span(curve)) * view.end);
    points.push(`${(LEFT + px).toFixed(1)} ${y(shareAt(view, sorted, value)).toFixed(1)}`);
  }
  points.push(`${curve.width - RIGHT} ${y(shareAt(view, sorted, view.end)).toFixed(1)}`);
  return points.join(" L");
}

/**
 * @param {Curve} curve
 * @param {DialView} view
 */
function lines(curve, view) {
  const { noise, second } = view;
  const path = pointsOf(curve, view, view.smallest);
  const area = `M${LEFT} ${BOTTOM} L${path} L${curve.width - RIGHT} ${BOTTOM} Z`;
  const line = (/** @type {string} */ name, /** @type {Uint16Array} */ sorted) =>
    s("path", { class: name, d: `M${pointsOf(curve, view, sorted)}` });
  return [
    s("path", { class: "area", d: area }),
    ...(noise ? [line("noise", noise)] : []),
    s("path", { class: "line", d: `M${path}` }),
    ...(second?.noise ? [line("noise", second.noise)] : []),
    ...(second ? [line("line second", second.smallest)] : []),
  ];
}

/**
 * @param {Curve} curve
 * @param {DialView} view
 */
function names(curve, view) {
  const { noise, second } = view;
  const right = curve.width - RIGHT;
  // A name stands under its line where there is room under the part it covers, else above.
  const under = (/** @type {Uint16Array} */ sorted, /** @type {number} */ wide) =>
    y(shareAt(view, sorted, view.end * (1 - wide / span(curve)))) + 14;
  let nameY = under(view.smallest, 90);
  if (nameY > BOTTOM - 3) nameY = y(shareAt(view, view.smallest, view.end)) - 7;
  const made = [];
  if (noise) {
    let noiseY = under(noise, 150);
    if (noiseY > BOTTOM - 3) noiseY = y(shareAt(view, noise, view.end)) - 6;
    if (Math.abs(nameY - noiseY) < 15) {
      if (nameY + 15 <= BOTTOM - 3) noiseY = nameY + 15;
      else nameY = noiseY - 15;
    }
    const unit = view.unit ? `${view.unit} ` : "";
    made.push(label(right, noiseY, "end", "name muted", `random noise, same ${unit}size`));
  }
  if (!second) return [...made, label(right, nameY, "end", "name", view.attack)];
  const left = nameBeside(curve, view, view.smallest, 0.72, view.name);
  return [...made, left, nameBeside(curve, view, second.smallest, 0.34, second.name)];
}

/**
 * Of two models each name stands beside its own line, where that is steep, at a height of its own.
 * @param {Curve} curve
 * @param {DialView} view
 * @param {Uint16Array} sorted
 * @param {number} level
 * @param {string} words
 */
function nameBeside(curve, view, sorted, level, words) {
  let value = 0;
  while (value < view.end && shareAt(view, sorted, value) < level) value += view.end / 200;
  if (value < view.end * 0.8) return label(x(curve, view, value) + 7, y(level) + 4, "start", "name", words);
  const above = Math.min(y(shareAt(view, sorted, view.end)) - 7, BOTTOM - 22);
  return label(curve.width - RIGHT, above, "end", "name", words);
}

/**
 * Moves the marks to a strength; `flips`: where the pinned sample moves, model by model.
 * @param {Curve} curve
 * @param {number} strength
 * @param {(number | null)[]} flips
 */
export function show(curve, strength, flips) {
  const { marks, view } = curve;
  if (!view || !curve.width) return;
  const at = x(curve, view, strength);
  attribute(marks.hair, "x1", at);
  attribute(marks.hair, "x2", at);
  const dots = /** @type {const} */ ([
    [marks.dot, view.smallest],
    [marks.noise, view.noise],
    [marks.second, view.second?.smallest],
  ]);
  for (const [dot, sorted] of dots) {
    if (!sorted) continue;
    attribute(dot, "cx", at);
    attribute(dot, "cy", y(shareAt(view, sorted, strength)));
  }
  [marks.flip, marks.flip2].forEach((mark, i) => {
    const flip = flips[i];
    const shown = flip !== null && flip <= view.end;
    attribute(mark, "d", shown ? `M${x(curve, view, flip) - 4.5} ${BOTTOM - 8} h9 l-4.5 8 Z` : "");
  });
}
