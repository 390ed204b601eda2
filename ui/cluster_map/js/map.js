// The component: one mount's state and its life. One message per gesture, never one per frame. A mount has one panel,
// or two beside each other, each with a map of its own.
//
// From the ground up: core is arithmetic; dom, theme and pictures make elements; webgl and canvas2d draw points. Dial,
// inspector and strip stand beside the map and know no mount. Samples and camera say what is where, points, labels, pin
// and rings how it looks, frame draws it all. Pointer, keyboard, toolbar and strength hear the user, receive the page.

import * as core from "./core.js";
import * as dial from "./dial.js";
import { h } from "./dom.js";
import { draw, restyle } from "./frame.js";
import * as inspector from "./inspector.js";
import { listenToKeys } from "./keyboard.js";
import { build } from "./layout.js";
import { setPin } from "./pin.js";
import { listenToPointers } from "./pointer.js";
import { closeProbe } from "./probe.js";
import { receive } from "./receive.js";
import { remember } from "./remount.js";
import { selectFlow } from "./selection.js";
import { feed, makeRenderer } from "./setup.js";
import { observe, place } from "./size.js";
import { release, setStrength, showSide } from "./strength.js";
import * as strip from "./strip.js";
import { listenToTools } from "./toolbar.js";

/** @import { Held, Mount, Panel, PanelRenderer, Points, Renderer, Send, State } from "./types.js" */

// What only a first message can fill is empty until then; no gesture is answered and nothing is drawn before.
const bare = {
  held: () => /** @type {Held} */ ({}),
  points: /** @type {Points} */ ({}),
  renderer: /** @type {Renderer} */ ({}),
  panelRenderer: /** @type {PanelRenderer} */ ({}),
  state: /** @type {Pick<State, "theme" | "options">} */ ({}),
};

/** @returns {State} */
function firstState() {
  return {
    ...bare.state,
    strength: 0,
    pin: null,
    selected: new Set(),
    selections: 0,
    hover: null,
    focus: null,
    isolate: -1,
    tool: "pan",
    zoom: 1,
    cx: 0.5,
    cy: 0.5,
    fit: 1,
    width: 0,
    height: 0,
    dpr: 1,
    layout: "",
    mount: "",
    serials: {},
    probe: undefined,
    probeAt: null,
    moving: false,
    side: null,
    asking: null,
  };
}

/**
 * @param {HTMLElement} root
 * @param {boolean} twin
 * @param {Send} send
 */
function create(root, twin, send) {
  /** @type {Mount} */
  const mount = {
    root,
    send,
    ui: build(root, twin),
    held: bare.held(),
    state: firstState(),
    ready: false,
    renderer: bare.renderer,
    panels: [],
    dial: dial.create({
      move: (strength) => setStrength(mount, strength),
      release: (strength) => release(mount, strength),
    }),
    inspector: twin ? null : createInspector(() => mount.panels[0]),
    strip: twin ? strip.create((side) => showSide(mount, side)) : null,
    tiles: new Map(),
    asked: new Map(),
    calm: window.matchMedia("(prefers-reduced-motion: reduce)"),
    draw: () => draw(mount),
    life: new AbortController(),
    raf: 0,
    flight: 0,
    stale: false,
    timers: {},
    counts: null,
    frames: 0,
    sent: 0,
    runs: 0,
    intervals: [],
    lastFrame: 0,
  };
  const { ui } = mount;
  ui.left.append(mount.dial.root);
  if (mount.inspector) ui.grid.append(mount.inspector.root);
  if (mount.strip) ui.left.prepend(mount.strip.root);
  mount.panels = ui.panels.map((_, number) => createPanel(mount, number));
  for (const panel of mount.panels) {
    listenToPointers(panel);
    listenToKeys(panel);
  }
  listenToTools(mount);
  listenToContext(mount);
  const observer = observe(mount);
  mount.life.signal.addEventListener("abort", () => observer.disconnect());
  return mount;
}

/** @param {() => Panel} panel the inspector speaks of the only one */
function createInspector(panel) {
  return inspector.create({
    flow: (from, to) => selectFlow(panel(), from, to),
    pin: (row) => setPin(panel(), row),
    unpin: () => setPin(panel(), null),
    closeProbe: () => closeProbe(panel().mount),
  });
}

/**
 * @param {Mount} mount
 * @param {number} number
 * @returns {Panel}
 */
function createPanel(mount, number) {
  return {
    mount,
    number,
    ui: mount.ui.panels[number],
    held: number ? bare.held() : mount.held,
    points: bare.points,
    moment: null,
    renderer: bare.panelRenderer,
    place: [0, 0],
    hand: { pointers: new Map(), gesture: null, lastPick: 0, wheelElsewhere: 0 },
  };
}

/**
 * Draws anew when a lost GL context has come back.
 * @param {Mount} mount
 */
function listenToContext(mount) {
  for (const canvas of [mount.ui.still, mount.ui.live]) {
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      if (mount.renderer.lost()) return;
      makeRenderer(mount);
      feed(mount);
      place(mount);
      restyle(mount);
    });
  }
}

/** @param {Mount} mount */
function free(mount) {
  if (mount.ready) remember(mount);
  mount.life.abort();
  cancelAnimationFrame(mount.raf);
  cancelAnimationFrame(mount.flight);
  dial.stop(mount.dial);
  for (const timer of Object.values(mount.timers)) clearTimeout(timer);
  if (mount.ready) mount.renderer.free();
  mount.root.remove();
}

/** @type {WeakMap<HTMLElement, Mount>} */
const mounts = new WeakMap();

/**
 * What Streamlit calls: on the first message, and on each one after.
 * @param {object} component
 * @param {Uint8Array} [component.data]
 * @param {HTMLElement} component.parentElement
 * @param {Send["state"]} component.setStateValue
 * @param {Send["trigger"]} component.setTriggerValue
 */
export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const send = { state: setStateValue, trigger: setTriggerValue };
  let mount = mounts.get(parentElement);
  if (!mount && data?.byteLength) {
    const root = h("div", { class: "cluster-map", "data-testid": "cluster-map" });
    parentElement.append(root);
    mount = create(root, core.parse(data).header.twin, send);
    mounts.set(parentElement, mount);
  }
  if (!mount) return undefined;
  mount.send = send;
  if (data?.byteLength) receive(mount, data);
  const mounted = mount;
  return () => {
    mounts.delete(parentElement);
    free(mounted);
  };
}
