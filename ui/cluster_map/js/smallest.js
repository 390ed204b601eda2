// The smallest strengths: that of the pinned sample, and those of all.

import * as core from "./core.js";
import { h, text } from "./dom.js";
import * as histogram from "./histogram.js";

/** @import { InspectorView } from "./inspector.js" */
/** @import { Moment, Pinned } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Smallest */

export function create() {
  const title = h("h4");
  const big = h("b", { class: "big" });
  const words = h("span", { class: "words" });
  const chart = histogram.create();
  const head = h("div", { class: "head" }, title);
  const root = h(
    "section",
    { "data-testid": "map-smallest" },
    head,
    h("div", { class: "figure" }, big, words),
    chart.root,
  );
  return { root, title, big, words, chart };
}

/**
 * @param {Smallest} smallest
 * @param {InspectorView} view
 * @param {Pinned | null} pin
 * @param {Moment} now
 */
export function update({ root, title, big, words, chart }, view, pin, now) {
  const attack = view.mode === "attack";
  const flip = pin?.flip ?? null;
  root.hidden = !view.smallest && !pin?.detail?.searched;
  chart.root.style.display = view.smallest ? "" : "none";
  text(title, titleOf(view));
  big.hidden = flip === null;
  if (pin && flip !== null) {
    text(big, core.fine(flip));
    text(words, foundWords(view, pin));
  } else text(words, pin ? missingWords(view, pin) : medianWords(view));
  const pinShare = flip !== null && flip <= view.end ? flip / view.end : null;
  if (view.smallest) histogram.update(chart, attack ? now.strength / view.end : 0, pinShare);
}

/** @param {InspectorView} view */
function titleOf({ mode, target }) {
  if (mode !== "attack") return "Smallest flip";
  return target === null ? "Smallest strength found" : `Smallest strength into cluster ${target}`;
}

/**
 * @param {InspectorView} view
 * @param {Pinned} pin
 */
function foundWords(view, { rank, detail }) {
  const more = rank === null ? "" : ` ${rankWords(view, rank)}`;
  if (view.mode !== "attack") return `${detail?.smallest_note || view.attack} moved it.${more}`;
  return `${view.target === null ? "moved it." : "pushed it there."}${more}`;
}

/** @param {InspectorView} view */
function medianWords({ median, end, paths, attack, unit }) {
  const value = median === null ? `above ${core.brief(end)}` : core.fine(median);
  return `Median ${value} over ${core.group(paths)} samples, ${[attack, unit].filter(Boolean).join(", ")}.`;
}

/**
 * @param {InspectorView} view
 * @param {Pinned} pin
 */
function missingWords(view, { inPath, detail, cluster }) {
  const attack = view.mode === "attack";
  const { target } = view;
  if (!inPath && !detail?.searched) return attack ? "No path for this sample yet." : "Not computed for this sample.";
  const end = core.brief(view.end);
  if (target === null || !attack) return `No strength up to ${end} moved it.`;
  const other = detail?.p ? nearestOther(detail.p, view.k, cluster, target) : null;
  const advice = other === null ? "" : ` Try another target: nearest is cluster ${other}.`;
  return `No strength up to ${end} pushed this sample into cluster ${target}.${advice}`;
}

/**
 * @param {InspectorView} view
 * @param {number} rank how many of the path's samples need more strength
 */
function rankWords({ paths }, rank) {
  const of = `the ${core.group(paths)} samples`;
  const part = Math.min(99, Math.round((100 * rank) / paths));
  if (rank >= paths - 1) return `It is the most fragile of ${of}.`;
  if (part >= 50) return `It is more fragile than ${part} % of ${of}.`;
  return `It is less fragile than ${Math.min(99, 100 - part)} % of ${of}.`;
}

/**
 * The cluster with the largest soft assignment, but for the sample's own one and the target.
 * @param {Float32Array} p
 * @param {number} k
 * @param {number} own
 * @param {number} target
 */
function nearestOther(p, k, own, target) {
  let best = /** @type {number | null} */ (null);
  for (let c = 0; c < k; c++) if (c !== own && c !== target && (best === null || p[c] > p[best])) best = c;
  return best;
}
