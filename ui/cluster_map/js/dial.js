// The dial: the read-out in words, the curve with the noise control, play, and a real range input below it on the same
// x axis.

import * as core from "./core.js";
import * as chart from "./curve.js";
import { attribute, h, s, text } from "./dom.js";

/** @import { DialView } from "./curve.js" */
/** @import { Moment } from "./types.js" */
/** @typedef {ReturnType<typeof build>} Dial */
/**
 * @typedef {object} DialEvents
 * @property {(strength: number) => void} move while dragging
 * @property {(strength: number) => void} release once at the end of a gesture
 */

const STEPS = 200;
/** @type {Record<string, number>} */
const KEYS = {
  ArrowRight: 1,
  ArrowUp: 1,
  ArrowLeft: -1,
  ArrowDown: -1,
  PageUp: 5,
  PageDown: -5,
  Home: -STEPS,
  End: STEPS,
};

/** @param {DialEvents} on */
export function create(on) {
  const dial = build(on);
  dial.play.onclick = () => pressPlay(dial);
  dial.input.oninput = () => {
    stop(dial);
    const { view } = dial.curve;
    if (view) move(dial, (Number(dial.input.value) / STEPS) * view.end);
  };
  dial.input.onchange = () => rest(dial);
  dial.input.onkeydown = (event) => pressKey(dial, event);
  // The chart takes the pointer too: the dial is the whole axis.
  const { root } = dial.curve;
  root.onpointerdown = (event) => {
    if (!dial.curve.view || event.button) return;
    stop(dial);
    root.setPointerCapture(event.pointerId);
    move(dial, chart.strengthAt(dial.curve, event.clientX));
  };
  root.onpointermove = (event) => {
    if (root.hasPointerCapture(event.pointerId)) move(dial, chart.strengthAt(dial.curve, event.clientX));
  };
  root.onpointerup = (event) => {
    if (root.hasPointerCapture(event.pointerId)) rest(dial);
  };
  face(dial);
  return dial;
}

/** @param {DialEvents} on */
function build(on) {
  const readout = { strength: buildPart(), moved: buildPart(), second: buildPart(), noise: buildPart() };
  const curve = chart.create();
  const range = { type: "range", min: 0, max: STEPS, step: "any", value: 0 };
  const input = h("input", { ...range, "data-testid": "map-dial", "aria-label": "Attack strength" });
  const icon = s("path");
  const play = h(
    "button",
    { type: "button", class: "play", "data-testid": "map-play", "aria-label": "Play" },
    s("svg", { viewBox: "0 0 28 28", width: 28, height: 28, "aria-hidden": "true" }, icon),
  );
  const parts = Object.values(readout).map((part) => part.root);
  const root = h(
    "div",
    { class: "dial" },
    h("p", { class: "readout", "data-testid": "map-readout" }, ...parts),
    curve.root,
    h("div", { class: "control" }, play, input),
  );
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {(number | null)[]} */
  const flips = [null, null];
  return { root, readout, curve, input, play, icon, calm, flips, on, strength: 0, playing: 0, keyTimer: 0 };
}

function buildPart() {
  const number = h("b", { class: "number" });
  const words = h("span");
  return { root: h("span", { class: "part" }, number, words), number, words };
}

/** @param {Dial} dial */
function show(dial) {
  const { view, width } = dial.curve;
  if (!view || !width) return;
  chart.show(dial.curve, dial.strength, dial.flips);
  const position = (dial.strength / view.end) * STEPS;
  if (Math.abs(Number(dial.input.value) - position) > 1e-6) dial.input.value = String(position);
  dial.input.style.setProperty("--at", String(dial.strength / view.end));
}

/** @param {Dial} dial */
export function stop(dial) {
  if (!dial.playing) return;
  cancelAnimationFrame(dial.playing);
  dial.playing = 0;
  face(dial);
}

/** @param {Dial} dial */
function face({ icon, play, playing }) {
  attribute(icon, "d", playing ? "M10.5 9.5v9M17.5 9.5v9" : "M11 8.5l8.5 5.5-8.5 5.5Z");
  attribute(play, "aria-label", playing ? "Pause" : "Play");
  play.classList.toggle("on", Boolean(playing));
}

/**
 * Goes to a strength. What follows before the next frame, such as a second key, starts from there.
 * @param {Dial} dial
 * @param {number} strength
 */
function move(dial, strength) {
  dial.strength = strength;
  dial.on.move(strength);
}

/**
 * Comes to rest at a strength.
 * @param {Dial} dial
 * @param {number} strength
 */
function restAt(dial, strength) {
  move(dial, strength);
  dial.on.release(strength);
}

/**
 * Comes to rest on the dial's grid.
 * @param {Dial} dial
 */
function rest(dial) {
  if (dial.curve.view) restAt(dial, core.snap(dial.strength, dial.curve.view.end));
}

/** @param {Dial} dial */
function pressPlay(dial) {
  const { view } = dial.curve;
  if (!view) return;
  if (!dial.playing) return dial.calm.matches ? jump(dial, view) : run(dial, view);
  stop(dial);
  rest(dial);
}

/**
 * Where play stops next: at the pin's next crossing if one lies ahead, else at the end.
 * @param {Dial} dial
 * @param {DialView} view
 * @param {number} from
 */
function goal({ flips }, { end }, from) {
  return flips.reduce((/** @type {number} */ to, flip) => {
    return flip !== null && flip > from + end * 1e-4 ? Math.min(to, flip) : to;
  }, end);
}

/**
 * The first rest position at or past a crossing.
 * @param {DialView} view
 * @param {number} strength
 */
const ceilStep = ({ end }, strength) => Math.min(end, (Math.ceil((strength / end) * STEPS - 1e-6) * end) / STEPS);

/**
 * Where play starts: at the end it begins anew.
 * @param {Dial} dial
 * @param {DialView} view
 */
const startOf = ({ strength }, { end }) => (strength >= end - 1e-9 ? 0 : strength);

/**
 * Without motion a press jumps: to the crossing, or to the next computed strength.
 * @param {Dial} dial
 * @param {DialView} view
 */
function jump(dial, view) {
  const from = startOf(dial, view);
  const next = view.strengths.find((value) => value > from + 1e-6) ?? 0;
  const target = goal(dial, view, from);
  restAt(dial, target < view.end ? Math.min(next, ceilStep(view, target)) : next);
}

/**
 * @param {Dial} dial
 * @param {DialView} view
 */
function run(dial, view) {
  let from = startOf(dial, view);
  let before = /** @type {number | null} */ (null);
  const to = goal(dial, view, from);
  const frame = (/** @type {number} */ now) => {
    if (before !== null) from = Math.min(to, from + ((now - before) / 7000) * view.end);
    before = now;
    if (from >= to) {
      stop(dial);
      restAt(dial, to < view.end ? ceilStep(view, to) : to);
      return;
    }
    move(dial, from);
    dial.playing = requestAnimationFrame(frame);
  };
  dial.playing = requestAnimationFrame(frame);
  face(dial);
}

/**
 * @param {Dial} dial
 * @param {KeyboardEvent} event
 */
function pressKey(dial, event) {
  const { view } = dial.curve;
  const by = KEYS[event.key];
  if (by === undefined || !view) return;
  event.preventDefault();
  stop(dial);
  const step = Math.min(STEPS, Math.max(0, Math.round((dial.strength / view.end) * STEPS) + by));
  move(dial, (step * view.end) / STEPS);
  // A held key is one gesture.
  clearTimeout(dial.keyTimer);
  dial.keyTimer = setTimeout(() => dial.on.release(dial.strength), 220);
}

/**
 * @param {Dial} dial
 * @param {DialView | null} view null: there is nothing to dial
 */
export function setup(dial, view) {
  dial.curve.view = view;
  dial.root.hidden = !view;
  chart.draw(dial.curve);
  show(dial);
}

/**
 * @param {Dial} dial
 * @param {number} width
 */
export function resize(dial, width) {
  dial.curve.width = width;
  chart.draw(dial.curve);
  show(dial);
}

/**
 * Where the pinned sample moves, in the model `which`.
 * @param {Dial} dial
 * @param {number | null} flip
 * @param {number} which
 */
export function setFlip(dial, flip, which) {
  if (dial.flips[which] === flip) return;
  dial.flips[which] = flip;
  show(dial);
}

/**
 * @param {Dial} dial
 * @param {Moment[]} moments model by model
 */
export function update(dial, [now, other]) {
  const { readout, input } = dial;
  const { view } = dial.curve;
  if (!view) return;
  dial.strength = now.strength;
  const n = view.smallest.length;
  const written = now.strength.toFixed(3);
  text(readout.strength.number, written);
  text(readout.strength.words, ` strength${view.unit ? `, ${view.unit}` : ""}`);
  readout.noise.root.hidden = !view.noise;
  readout.second.root.hidden = !view.second;
  if (view.second) {
    text(readout.moved.number, core.share(now.moved, n));
    text(readout.moved.words, ` moved, ${view.name}`);
    text(readout.second.number, core.share(other.moved, n));
    text(readout.second.words, ` moved, ${view.second.name}`);
  } else {
    text(readout.moved.number, core.group(now.moved));
    text(readout.moved.words, ` of ${core.group(n)} ${view.verb}, ${core.share(now.moved, n)}`);
  }
  if (view.noise) {
    const shares = [core.percent(now.noise, view.noise.length)];
    if (view.second?.noise) shares.push(core.percent(other.noise, view.second.noise.length));
    text(readout.noise.number, shares.join(" and "));
    text(readout.noise.words, ` ${view.noiseVerb} by random noise of equal size`);
  }
  const both = view.second ? `, on the right ${core.group(other.moved)}` : "";
  attribute(input, "aria-valuetext", `${written}: ${core.group(now.moved)} of ${core.group(n)} ${view.verb}${both}`);
  show(dial);
}
