// The elements of a mount, before anything is known of what it will show.

import { h, s } from "./dom.js";

/** @typedef {ReturnType<typeof buildPanel>} PanelUi */
/** @typedef {ReturnType<typeof build>} Ui */

export const GAP = 24; // between two panels

const ICONS = {
  pan: "M8 2v12M2 8h12M8 2l-2 2m2-2 2 2M8 14l-2-2m2 2 2-2M2 8l2-2M2 8l2 2M14 8l-2-2m2 2-2 2",
  box: "M3 3.5h10v9H3z",
  lasso:
    "M3.2 6.5C3.2 4 5.4 2.8 8 2.8s5 1.2 5 3.7-2.4 3.7-5 3.7c-1 0-2-.1-2.8-.5" +
    "M5.2 9.7c-1.2-.3-2 .5-1.8 1.4.3 1 1.7.9 2.1 2.6",
  in: "M8 3.5v9M3.5 8h9",
  out: "M3.5 8h9",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  png: "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11",
};

/** @param {string} testid */
function buildPanel(testid) {
  const layer = (/** @type {string} */ name, more = {}) => s("g", { class: name, ...more });
  const groups = {
    labels: layer("labels"),
    trail: layer("trail", { "data-testid": "map-pin" }),
    hover: layer("hover"),
    focus: layer("focus"),
    probe: layer("probe"),
    gesture: layer("gesture"),
  };
  const marks = s("svg", { class: "layer marks", "aria-hidden": "true" }, ...Object.values(groups));
  const card = h("div", { class: "card", "data-testid": "map-card", hidden: true });
  const note = h("p", { class: "map-note", "data-testid": "map-note", hidden: true });
  const shell = { class: "stage", "data-testid": testid, tabindex: 0, role: "application" };
  const stage = h("div", shell, marks, card, note);
  // two panels have a name and a line beside it
  return { marks, groups, card, note, stage, name: h("h4"), aside: h("span", { class: "aside" }) };
}

function buildTools() {
  const tool = (/** @type {keyof typeof ICONS} */ name, /** @type {string} */ label, /** @type {string} */ testid) =>
    h(
      "button",
      { type: "button", "aria-label": label, title: label, "data-testid": testid, "data-tool": name },
      s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, s("path", { d: ICONS[name] })),
    );
  return {
    pan: tool("pan", "Move the map by dragging", "map-tool-pan"),
    box: tool("box", "Select with a box", "map-tool-box"),
    lasso: tool("lasso", "Select with a lasso", "map-tool-lasso"),
    out: tool("out", "Zoom out (-)", "map-zoom-out"),
    in: tool("in", "Zoom in (+)", "map-zoom-in"),
    fit: tool("fit", "Whole map (0)", "map-zoom-fit"),
    png: tool("png", "Save the map as PNG", "map-png"),
  };
}

/** @param {PanelUi} panel */
function withHead({ name, aside, stage }) {
  return h("div", { class: "twin" }, h("div", { class: "head" }, name, aside), stage);
}

/**
 * @param {HTMLElement} root
 * @param {boolean} twin
 */
export function build(root, twin) {
  const still = h("canvas", { class: "layer", "aria-hidden": "true" });
  const live = h("canvas", { class: "layer", "aria-hidden": "true" });
  const panels = (twin ? ["map-stage", "map-stage-b"] : ["map-stage"]).map(buildPanel);
  const stages = panels.map((panel) => panel.stage);
  const tools = buildTools();
  const toolbar = h("div", { class: "tools", role: "toolbar", "aria-label": "Map tools" }, ...Object.values(tools));
  stages[stages.length - 1].append(toolbar);
  const key = h("div", { class: "key", "data-testid": "map-key" });
  const spoken = h("p", { class: "spoken", "aria-live": "polite", "data-testid": "map-live" });
  // Two maps share both canvases, which lie under their stages: a page has few GL contexts to give.
  const maps = twin ? h("div", { class: "twins", style: `--gap: ${GAP}px` }, ...panels.map(withHead)) : stages[0];
  maps.prepend(still, live);
  const left = h("div", { class: "left" }, maps, key);
  const grid = h("div", { class: twin ? "grid alone" : "grid" }, left);
  root.append(grid, spoken);
  return { grid, left, maps, still, live, panels, stages, tools, toolbar, key, spoken };
}
