// The component: one mount's state, its messages, its life. One message per gesture, never one per frame. `m` holds
// what all parts of a mount share; frame.js adds to it. A mount has one panel, or two beside each other, each with a map
// of its own: it inherits from `m`, and places.js, drawing.js and gestures.js add their functions to it.
const map = (() => {
  const { h, s, text, attribute } = dom;
  const GAP = 24, STACKED = 640; // between two panels; below this width one stands above the other
  const ICONS = {
    pan: "M8 2v12M2 8h12M8 2l-2 2m2-2 2 2M8 14l-2-2m2 2 2-2M2 8l2-2M2 8l2 2M14 8l-2-2m2 2-2 2",
    box: "M3 3.5h10v9H3z",
    lasso: "M3.2 6.5C3.2 4 5.4 2.8 8 2.8s5 1.2 5 3.7-2.4 3.7-5 3.7c-1 0-2-.1-2.8-.5M5.2 9.7c-1.2-.3-2 .5-1.8 1.4.3 1 1.7.9 2.1 2.6",
    in: "M8 3.5v9M3.5 8h9", out: "M3.5 8h9", fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
    png: "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11",
  };

  function buildPanel(testid) {
    const marks = s("svg", { class: "layer marks", "aria-hidden": "true" });
    const groups = {};
    for (const name of ["labels", "trail", "hover", "focus", "probe", "gesture"]) marks.append((groups[name] = s("g", { class: name })));
    groups.trail.setAttribute("data-testid", "map-pin");
    const card = h("div", { class: "card", "data-testid": "map-card", hidden: true });
    const note = h("p", { class: "map-note", "data-testid": "map-note", hidden: true });
    const stage = h("div", { class: "stage", "data-testid": testid, tabindex: 0, role: "application" }, marks, card, note);
    return { marks, groups, card, note, stage };
  }

  function build(root, twin) {
    const still = h("canvas", { class: "layer", "aria-hidden": "true" }), live = h("canvas", { class: "layer", "aria-hidden": "true" });
    const panels = twin ? [buildPanel("map-stage"), buildPanel("map-stage-b")] : [buildPanel("map-stage")];
    const tool = (name, label, testid) => h(
      "button", { type: "button", "aria-label": label, title: label, "data-testid": testid, "data-tool": name },
      s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, s("path", { d: ICONS[name] })),
    );
    const tools = {
      pan: tool("pan", "Move the map by dragging", "map-tool-pan"), box: tool("box", "Select with a box", "map-tool-box"),
      lasso: tool("lasso", "Select with a lasso", "map-tool-lasso"), out: tool("out", "Zoom out (-)", "map-zoom-out"),
      in: tool("in", "Zoom in (+)", "map-zoom-in"), fit: tool("fit", "Whole map (0)", "map-zoom-fit"),
      png: tool("png", "Save the map as PNG", "map-png"),
    };
    const toolbar = h("div", { class: "tools", role: "toolbar", "aria-label": "Map tools" }, ...Object.values(tools));
    panels.at(-1).stage.append(toolbar);
    const key = h("div", { class: "key", "data-testid": "map-key" });
    const spoken = h("p", { class: "spoken", "aria-live": "polite", "data-testid": "map-live" });
    // Two maps share both canvases, which lie under their stages: a page has few GL contexts to give.
    let maps = panels[0].stage;
    if (twin) {
      maps = h("div", { class: "twins", style: `--gap: ${GAP}px` });
      for (const panel of panels) {
        Object.assign(panel, { name: h("h4"), aside: h("span", { class: "aside" }) });
        maps.append(h("div", { class: "twin" }, h("div", { class: "head" }, panel.name, panel.aside), panel.stage));
      }
    }
    maps.prepend(still, live);
    const left = h("div", { class: "left" }, maps, key), grid = h("div", { class: twin ? "grid alone" : "grid" }, left);
    root.append(grid, spoken);
    return { root, grid, left, maps, still, live, panels, stages: panels.map((panel) => panel.stage), tools, toolbar, key, spoken };
  }

  function create(root, send, twin) {
    const ui = build(root, twin);
    const held = {}; // base and parts as received
    const tiles = new Map(), asked = new Map();
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    const st = {
      theme: null, strength: 0, pin: null, selected: new Set(), hover: null, focus: null, isolate: -1, tool: "pan",
      zoom: 1, cx: 0.5, cy: 0.5, W: 0, H: 0, dpr: 1, layout: "", mount: "", serials: {}, probe: undefined, moving: false,
      side: null, // of two models: those that moved on which side are shown; null: all
    };
    const knob = dial.create({ move: setStrength, release: released });
    const side = twin ? null : inspector.create({
      flow: (from, to) => first.selectFlow(from, to), pin: (row) => first.setPin(row), unpin: () => first.setPin(null), closeProbe: () => first.closeProbe(),
    });
    ui.left.append(knob.root);
    if (side) ui.grid.append(side.root);
    const m = {
      root, ui, held, st, tiles, calm, knob, side, tell, later, say, tileOf,
      renderer: null, raf: 0, dirty: { still: false, live: false }, timers: {}, frames: 0, sent: 0, runs: 0, intervals: [], lastFrame: 0,
    };
    if (twin) {
      m.strip = strip.create(showSide);
      ui.left.prepend(m.strip.root);
    }
    m.panels = ui.panels.map((own, number) => {
      const panel = Object.create(m);
      // g: what is derived from the base; moment: what the dial says, until it or the data change; place: in the canvases
      Object.assign(panel, { number, ui: { ...ui, ...own }, held: number ? {} : held, g: null, moment: null, renderer: null, place: [0, 0] });
      for (const part of [places, drawing, gestures]) part.add(panel);
      if (twin) panel.showHead = (moment) => showHead(panel, moment);
      return panel;
    });
    const [first] = m.panels;
    frame.add(m);

    function tell(kind, name, value) {
      m.sent++;
      root.dataset.sent = m.sent;
      // Of two triggers that wait for one run of the page the server keeps the last: each tells where dial and
      // pin stand, and what the page set of them last.
      send[kind](name, kind === "trigger" ? { value, strength: st.strength, pin: st.pin, serials: { ...st.serials } } : value);
    }
    function later(name, ms, action) {
      clearTimeout(m.timers[name]);
      m.timers[name] = setTimeout(action, ms);
    }
    function say(words) { ui.spoken.textContent = words; }

    function receive(bytes) {
      const message = core.parse(bytes);
      const before = held.base, changed = core.merge(held, message);
      if (!changed) {
        // The page sent a patch for a base that this mount never got: ask for the whole once.
        if (st.asking !== message.header.base) { st.asking = message.header.base; tell("trigger", "resend", message.header.base); }
        return;
      }
      st.asking = null;
      if (twin) Object.assign(m.panels[1].held, { base: held.base, parts: held.parts, extra: held.extra });
      st.options = held.parts.options; // a mount that had to ask for the base has a size by now, and is drawn at once
      if (changed.base) setup(before);
      for (const [number, png] of changed.tiles) keepTile(number, png);
      applyControl();
      const probe = held.parts.probe;
      if (probe && (st.probe === null || (st.probe === undefined && m.runs <= 1 && st.pin === null))) {
        const asks = st.probeAt;
        if (!asks || Math.hypot(asks[0] - probe.x, asks[1] - probe.y) < 1e-4) {
          st.probeAt = [probe.x, probe.y];
          st.probe = { ...probe, p: held.extra["probe.p"], image: held.extra["probe.image"] };
          side?.showProbe(st.probe);
        }
      }
      m.restyle();
    }

    function keepTile(number, png) {
      createImageBitmap(new Blob([png], { type: "image/png" })).then((bitmap) => {
        tiles.set(number, bitmap);
        root.dataset.tiles = tiles.size;
        side?.redraw();
        for (const panel of m.panels) if (st.hover !== null && !panel.ui.card.hidden) panel.showCard();
        m.redraw(false, true);
      });
    }
    function tileOf(row) {
      const sprites = held.meta.sprites;
      if (!sprites) return null;
      const number = Math.floor(row / sprites.per), bitmap = tiles.get(number), i = row % sprites.per;
      if (!bitmap) {
        // Asked again only after a while: the page may be busy, and a patch may have been overtaken.
        if (!st.moving && !(performance.now() - asked.get(number) < 5000)) {
          asked.set(number, performance.now());
          tell("trigger", "tiles", [number]);
        }
        return null;
      }
      return { bitmap, x: (i % sprites.columns) * sprites.w, y: Math.floor(i / sprites.columns) * sprites.h, w: sprites.w, h: sprites.h };
    }

    function applyControl() {
      const control = held.parts.control;
      if (control.mount !== st.mount) {
        st.mount = control.mount;
        st.serials = {};
      }
      const fresh = (name) => {
        const entry = control[name];
        if (!entry || entry[0] <= (st.serials[name] ?? 0)) return undefined;
        st.serials[name] = entry[0];
        return entry[1];
      };
      const strength = fresh("strength"), pin = fresh("pin"), select = fresh("select"), zoom = fresh("zoom");
      if (strength !== undefined) {
        knob.stop();
        st.strength = strength;
      }
      if (pin !== undefined) {
        st.pin = pin < 0 ? null : pin;
        if (st.pin !== null) first.closeProbe();
      }
      if (select !== undefined) st.selected = new Set(held.extra["control.select"]);
      if (zoom !== undefined) later("zoom", 0, () => first.flyTo(zoom === "all" ? null : zoom));
    }

    // What is derived from a panel's geometry.
    function derive({ meta, geometry }) {
      const n = meta.n, attack = meta.mode !== "explore" && Boolean(geometry.paths);
      const g = { n, m: attack ? meta.paths : 0, rows: geometry.row, attack, k: meta.k, smallest: geometry.smallest };
      g.rowToBase = new Int32Array(meta.total).fill(-1);
      for (let i = 0; i < n; i++) g.rowToBase[g.rows ? g.rows[i] : i] = i;
      g.rowToPath = new Int32Array(meta.total).fill(-1);
      const pathRows = geometry.path_row ?? [];
      for (let j = 0; j < pathRows.length; j++) g.rowToPath[pathRows[j]] = j;
      g.isPath = new Uint8Array(n);
      if (attack) for (const row of pathRows) if (g.rowToBase[row] >= 0) g.isPath[g.rowToBase[row]] = 1;
      g.index = core.buildIndex(geometry.xy, attack ? g.isPath : null);
      return g;
    }
    // The second panel has the first one's samples and strengths, and a geometry of its own.
    function pair() {
      const [a, b] = m.panels, shared = { row: held.geometry.row, "colour.label": held.geometry["colour.label"] };
      for (const [name, array] of Object.entries(shared)) if (array) held.partner[name] = array;
      Object.assign(b.held, { meta: { ...held.meta, ...held.meta.partner }, geometry: held.partner });
      b.g = derive(b.held);
      for (const [own, other] of a.g.attack ? [[a, b], [b, a]] : []) {
        own.g.other = Uint16Array.from(own.held.geometry.path_row, (row) => other.g.smallest[other.g.rowToPath[row]]);
      }
      st.side = null;
      m.strip.clear();
      m.strip.root.hidden = !a.g.attack;
    }
    function setup(before) {
      const { meta, geometry } = held;
      first.g = derive(held);
      if (twin) pair();
      if (meta.layout !== st.layout) {
        const fresh = !st.layout;
        st.layout = meta.layout;
        Object.assign(st, { zoom: 1, hover: null, focus: null });
        if (!fresh || before) {
          st.selected = new Set();
          tiles.clear();
          asked.clear();
        }
        const [x0, y0, x1, y1] = meta.box;
        st.cx = (x0 + x1) / 2;
        st.cy = (y0 + y1) / 2;
      }
      if (st.pin !== null && st.pin >= meta.total) st.pin = null;
      st.strength = Math.min(st.strength, meta.end || 0);
      if (!m.renderer) makeRenderer();
      feed();
      setupDial(first.g);
      side?.setup(sideView(first.g));
      for (const panel of m.panels) panel.moment = null;
      if (st.W) size(ui.left.clientWidth);
    }
    function setupDial({ attack, smallest }) {
      const { meta, geometry } = held, verb = meta.target === null ? "moved" : `moved into cluster ${meta.target}`;
      const noiseVerb = meta.noise_target === meta.target ? verb : "left their cluster";
      if (!attack || !smallest?.length) return knob.setup(null);
      const view = { end: meta.end, strengths: meta.strengths, smallest, noise: geometry.noise ?? null, attack: meta.attack, unit: meta.unit, verb, noiseVerb };
      if (twin) Object.assign(view, { name: meta.name, second: { name: meta.partner.name, smallest: held.partner.smallest, noise: held.partner.noise ?? null } });
      knob.setup(view);
    }
    function sideView({ attack, smallest }) {
      const { meta, geometry } = held, never = smallest ? core.countUpTo(smallest, core.TOP) : 0;
      const middle = smallest?.length ? smallest[smallest.length >> 1] : core.TOP + 1;
      return {
        mode: meta.mode, k: meta.k, paths: smallest?.length ?? 0, end: meta.end, target: meta.target, norm: meta.norm, space: meta.space, attack: meta.attack, unit: meta.unit,
        hasPath: Boolean(smallest?.length), smallest, median: middle > core.TOP ? null : (middle / core.TOP) * meta.end,
        suggestion: attack && never ? { row: geometry.path_row[0], strength: (smallest[0] / core.TOP) * meta.end } : null, clusterOf: first.clusterOf,
      };
    }

    // Two models: the heads of their panels, and whom the strip leaves on the maps.
    function showHead({ ui: { name, aside }, held: { meta }, g }, { moved }) {
      text(name, meta.name);
      text(aside, [meta.aside, g.attack ? `${core.group(moved)} of ${core.group(g.m)} moved` : ""].filter(Boolean).join(" \u00b7 "));
    }
    function showSide(which) {
      st.side = which;
      if (which === null) for (const panel of m.panels) panel.filter();
      const words = ["neither moves", "only the left one moves", "only the right one moves", "both move"][which];
      say(which === null ? "All samples shown." : `Samples shown that ${words}: ${core.group(m.counts[which])}.`);
      m.redraw(true, true);
    }

    function makeRenderer() {
      m.renderer = layers.create(ui.still, ui.live) ?? flat.create(ui.still, ui.live);
      root.dataset.renderer = m.renderer.name;
      for (const panel of m.panels) panel.renderer = m.renderer.panel();
    }
    function feed() {
      for (const { g, renderer, held: { meta, geometry } } of m.panels) {
        renderer.setBase(geometry.xy, geometry.clusters);
        renderer.setPaths(g.attack ? geometry.paths : null, g.attack ? geometry.smallest : null, geometry.path_clusters);
        renderer.setRaster(meta.raster ? geometry : null, st.theme ? new Uint8Array(st.theme.rgb.flat()) : null);
      }
    }

    function setStrength(value) {
      st.strength = Math.min(held.meta.end, Math.max(0, value));
      st.moving = true;
      for (const panel of m.panels) {
        panel.moment = null;
        panel.ui.card.hidden = true;
      }
      m.redraw(false, true);
    }
    function released(value) {
      st.moving = false;
      setStrength(value);
      st.moving = false;
      root.dataset.intervals = m.intervals.map((v) => v.toFixed(1)).join(" ");
      m.intervals = [];
      m.lastFrame = 0;
      tell("trigger", "strength", st.strength);
      if (twin) {
        const [neither, left, right, both] = core.joint(first.g.smallest, first.g.other, first.now().q).map(core.group);
        return say(`At strength ${st.strength.toFixed(3)}, ${left} of ${core.group(first.g.m)} samples moved only on the left, ${both} on both sides, ${right} only on the right, ${neither} on neither.`);
      }
      const { moved, flow } = first.now(), n = first.g.m;
      const where = held.meta.target === null ? "left their cluster" : `moved into cluster ${held.meta.target}`;
      const largest = flow.largest ? `; ${flow.largest.from} to ${flow.largest.to} is the largest flow` : "";
      say(`At strength ${st.strength.toFixed(3)}, ${core.group(moved)} of ${core.group(n)} samples ${where}${largest}.`);
    }

    function readTheme() {
      st.theme = dom.readTheme(root);
      st.theme.hues.forEach((hue, i) => {
        root.style.setProperty(`--hue-${i}`, hue);
        root.style.setProperty(`--edge-${i}`, st.theme.edges[i]);
      });
      root.classList.toggle("dark", st.theme.dark);
      side?.redraw();
      if (m.renderer && held.meta?.raster) first.renderer.setRaster(held.geometry, new Uint8Array(st.theme.rgb.flat()));
    }
    const observer = new ResizeObserver(() => {
      const W = Math.round(ui.left.clientWidth), dpr = Math.min(2, window.devicePixelRatio || 1);
      if (!W) return;
      if (side) balance();
      if (W === st.W && dpr === st.dpr) return m.redraw(false, true);
      st.dpr = dpr;
      size(W);
    });
    // A long inspector leaves a hole below the dial: where it is the larger one, the smallest strengths fill it.
    function balance() {
      const own = side.smallest.offsetHeight, there = side.smallest.parentNode === ui.left;
      const hole = side.root.offsetHeight - ui.left.offsetHeight + (there ? 2 * own + 48 : 0); // 24 px above it, on either side
      const fits = own > 0 && hole > 1.4 * own && side.root.offsetLeft > ui.left.offsetLeft;
      if (fits !== there) side.lodge(fits ? ui.left : null);
      side.resize();
    }
    function size(W) {
      const wide = root.clientWidth, stacked = W < STACKED;
      if (!wide) return;
      const own = twin && !stacked ? Math.floor((W - GAP) / 2) : W;
      let H = Math.round(own < 480 ? own * 0.94 : Math.min(own * 0.78, 660));
      if (twin && held.meta) {
        // As high as both maps need at this width: side by side there is none to spare.
        const [x0, y0, x1, y1] = held.meta.box;
        H = Math.round(Math.min(0.96, Math.max(0.72, (y1 - y0) / Math.max(1e-6, x1 - x0))) * own);
      }
      Object.assign(st, { W: own, H });
      for (const { stage, marks } of ui.panels) {
        stage.style.height = `${H}px`;
        attribute(marks, "viewBox", `0 0 ${own} ${H}`);
      }
      ui.maps.classList.toggle("stacked", stacked);
      knob.resize(W);
      m.strip?.resize(W, stacked);
      if (!m.renderer) return;
      place();
      for (const panel of m.panels) panel.fit();
      m.restyle();
    }
    function place() {
      if (twin) for (const panel of m.panels) panel.place = [panel.ui.stage.offsetLeft, panel.ui.stage.offsetTop];
      m.renderer.resize(ui.maps.clientWidth, ui.maps.clientHeight, st.dpr);
    }
    observer.observe(ui.left);
    if (side) observer.observe(side.root);
    for (const canvas of [ui.still, ui.live]) {
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        if (m.renderer.lost()) return;
        makeRenderer();
        feed();
        place();
        m.restyle();
      });
    }

    return {
      run(bytes) {
        m.runs++;
        root.dataset.runs = m.runs;
        readTheme();
        receive(bytes);
      },
      free() {
        observer.disconnect();
        for (const panel of m.panels) window.removeEventListener("wheel", panel.elsewhere);
        cancelAnimationFrame(m.raf);
        cancelAnimationFrame(m.timers.fly);
        knob.stop();
        Object.values(m.timers).forEach(clearTimeout);
        m.renderer?.free();
        root.remove();
      },
    };
  }

  return { create };
})();

const mounts = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  let mount = mounts.get(parentElement);
  if (!mount && data?.byteLength) {
    const root = dom.h("div", { class: "cluster-map", "data-testid": "cluster-map" });
    parentElement.append(root);
    const send = {};
    mount = { send, map: map.create(root, send, core.parse(data).header.twin) };
    mounts.set(parentElement, mount);
  }
  if (!mount) return undefined;
  mount.send.state = setStateValue;
  mount.send.trigger = setTriggerValue;
  if (data?.byteLength) mount.map.run(data);
  return () => {
    mounts.delete(parentElement);
    mount.map.free();
  };
}
