// The component: one mount's state, its messages, its life. One message per gesture, never one per frame. `m` holds
// what the parts of a mount share: places.js, drawing.js and gestures.js add their functions to it.
const map = (() => {
  const { h, s, attribute } = dom;
  const ICONS = {
    pan: "M8 2v12M2 8h12M8 2l-2 2m2-2 2 2M8 14l-2-2m2 2 2-2M2 8l2-2M2 8l2 2M14 8l-2-2m2 2-2 2",
    box: "M3 3.5h10v9H3z",
    lasso: "M3.2 6.5C3.2 4 5.4 2.8 8 2.8s5 1.2 5 3.7-2.4 3.7-5 3.7c-1 0-2-.1-2.8-.5M5.2 9.7c-1.2-.3-2 .5-1.8 1.4.3 1 1.7.9 2.1 2.6",
    in: "M8 3.5v9M3.5 8h9", out: "M3.5 8h9", fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
    png: "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11",
  };

  function build(root) {
    const still = h("canvas", { class: "layer", "aria-hidden": "true" }), live = h("canvas", { class: "layer", "aria-hidden": "true" });
    const marks = s("svg", { class: "layer marks", "aria-hidden": "true" });
    const groups = {};
    for (const name of ["labels", "trail", "hover", "focus", "probe", "gesture"]) marks.append((groups[name] = s("g", { class: name })));
    groups.trail.setAttribute("data-testid", "map-pin");
    const card = h("div", { class: "card", "data-testid": "map-card", hidden: true });
    const note = h("p", { class: "map-note", "data-testid": "map-note", hidden: true });
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
    const stage = h("div", { class: "stage", "data-testid": "map-stage", tabindex: 0, role: "application" }, still, live, marks, card, note, toolbar);
    const key = h("div", { class: "key", "data-testid": "map-key" });
    const spoken = h("p", { class: "spoken", "aria-live": "polite", "data-testid": "map-live" });
    const left = h("div", { class: "left" }, stage, key), grid = h("div", { class: "grid" }, left);
    root.append(grid, spoken);
    return { root, grid, left, stage, still, live, marks, groups, card, note, tools, toolbar, key, spoken };
  }

  function create(root, send) {
    const ui = build(root);
    const held = {}; // base and parts as received
    const tiles = new Map(), asked = new Map();
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    const st = {
      theme: null, strength: 0, pin: null, selected: new Set(), hover: null, focus: null, isolate: -1, tool: "pan",
      zoom: 1, cx: 0.5, cy: 0.5, W: 0, H: 0, dpr: 1, layout: "", mount: "", serials: {}, probe: undefined, moving: false,
    };
    const knob = dial.create({ move: setStrength, release: released });
    const side = inspector.create({
      flow: (from, to) => m.selectFlow(from, to), pin: (row) => m.setPin(row), unpin: () => m.setPin(null), closeProbe: () => m.closeProbe(),
    });
    ui.left.append(knob.root);
    ui.grid.append(side.root);
    const m = {
      root, ui, held, st, tiles, calm, knob, side, tell, later, say, tileOf, now,
      g: null, // what is derived from the base
      renderer: null, raf: 0, dirty: { still: false, live: false }, timers: {}, frames: 0, sent: 0, runs: 0, intervals: [], lastFrame: 0,
      moment: null, // the dial's moment, until the dial or the data change
    };
    for (const part of [places, drawing, gestures]) part.add(m);

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
      if (changed.base) setup(before);
      for (const [number, png] of changed.tiles) keepTile(number, png);
      applyControl();
      st.options = held.parts.options;
      const probe = held.parts.probe;
      if (probe && (st.probe === null || (st.probe === undefined && m.runs <= 1 && st.pin === null))) {
        const asks = st.probeAt;
        if (!asks || Math.hypot(asks[0] - probe.x, asks[1] - probe.y) < 1e-4) {
          st.probeAt = [probe.x, probe.y];
          st.probe = { ...probe, p: held.extra["probe.p"], image: held.extra["probe.image"] };
          side.showProbe(st.probe);
        }
      }
      m.restyle();
    }

    function keepTile(number, png) {
      createImageBitmap(new Blob([png], { type: "image/png" })).then((bitmap) => {
        tiles.set(number, bitmap);
        root.dataset.tiles = tiles.size;
        side.redraw();
        if (st.hover !== null && !ui.card.hidden) m.showCard();
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
        if (st.pin !== null) m.closeProbe();
      }
      if (select !== undefined) st.selected = new Set(held.extra["control.select"]);
      if (zoom !== undefined) later("zoom", 0, () => m.flyTo(zoom === "all" ? null : zoom));
    }

    function setup(before) {
      const { meta, geometry } = held, n = meta.n;
      const attack = meta.mode === "attack" && Boolean(geometry.paths);
      const g = { n, m: attack ? meta.paths : 0, rows: geometry.row, attack, k: meta.k };
      g.rowToBase = new Int32Array(meta.total).fill(-1);
      for (let i = 0; i < n; i++) g.rowToBase[g.rows ? g.rows[i] : i] = i;
      g.rowToPath = new Int32Array(meta.total).fill(-1);
      const pathRows = geometry.path_row ?? [];
      for (let j = 0; j < pathRows.length; j++) g.rowToPath[pathRows[j]] = j;
      g.isPath = new Uint8Array(n);
      if (attack) for (const row of pathRows) if (g.rowToBase[row] >= 0) g.isPath[g.rowToBase[row]] = 1;
      m.g = g;
      g.index = core.buildIndex(geometry.xy, attack ? g.isPath : null);
      g.smallest = geometry.smallest;
      if (meta.layout !== st.layout) {
        const first = !st.layout;
        st.layout = meta.layout;
        Object.assign(st, { zoom: 1, hover: null, focus: null });
        if (!first || before) {
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
      m.renderer ??= makeRenderer();
      feed();
      const never = g.smallest ? core.countUpTo(g.smallest, core.TOP) : 0;
      const middle = g.smallest?.length ? g.smallest[g.smallest.length >> 1] : core.TOP + 1;
      const inPath = Boolean(g.smallest?.length);
      const verb = meta.target === null ? "moved" : `moved into cluster ${meta.target}`;
      const noiseVerb = meta.noise_target === meta.target ? verb : "left their cluster";
      knob.setup(attack && inPath ? { end: meta.end, strengths: meta.strengths, smallest: g.smallest, noise: geometry.noise ?? null, attack: meta.attack, unit: meta.unit, verb, noiseVerb } : null);
      side.setup({
        mode: meta.mode, k: meta.k, paths: g.smallest?.length ?? 0, end: meta.end, target: meta.target, norm: meta.norm, space: meta.space, attack: meta.attack, unit: meta.unit,
        hasPath: inPath, smallest: g.smallest, median: middle > core.TOP ? null : (middle / core.TOP) * meta.end,
        suggestion: attack && never ? { row: pathRows[0], strength: (g.smallest[0] / core.TOP) * meta.end } : null, clusterOf: m.clusterOf,
      });
      if (st.W) m.fit();
    }

    function makeRenderer() {
      const made = layers.create(ui.still, ui.live);
      root.dataset.renderer = made ? made.name : "canvas2d";
      return made ?? flat.create(ui.still, ui.live);
    }
    function feed() {
      const { meta, geometry } = held;
      m.renderer.setBase(geometry.xy, geometry.clusters);
      m.renderer.setPaths(m.g.attack ? geometry.paths : null, m.g.attack ? geometry.smallest : null, geometry.path_clusters);
      m.renderer.setRaster(meta.raster ? geometry : null, st.theme ? new Uint8Array(st.theme.rgb.flat()) : null);
    }

    function now() {
      if (m.moment) return m.moment;
      const { meta, geometry } = held, strength = st.strength;
      if (!m.g.attack) return (m.moment = { strength, k: 0, t: 0, later: 0, q: 0, moved: 0, noise: 0, flow: null });
      const at = core.stepOf(meta.strengths, strength), q = core.threshold(strength, meta.end);
      // At strength 0 nothing has moved, whatever rounding says.
      const moved = core.countUpTo(m.g.smallest, q), noise = geometry.noise ? core.countUpTo(geometry.noise, q) : 0;
      return (m.moment = { strength, ...at, q, moved, noise, flow: core.flow(geometry.path_clusters, m.g.m, m.g.k, moved, at.later) });
    }
    function setStrength(value) {
      st.strength = Math.min(held.meta.end, Math.max(0, value));
      st.moving = true;
      m.moment = null;
      ui.card.hidden = true;
      m.redraw(false, true);
    }
    function released(value) {
      st.moving = false;
      setStrength(value);
      st.moving = false;
      root.dataset.intervals = m.intervals.map((v) => v.toFixed(1)).join(" ");
      m.intervals = [];
      m.lastFrame = 0;
      const { moved, flow } = now(), n = m.g.m;
      const where = held.meta.target === null ? "left their cluster" : `moved into cluster ${held.meta.target}`;
      const largest = flow.largest ? `; ${flow.largest.from} to ${flow.largest.to} is the largest flow` : "";
      say(`At strength ${st.strength.toFixed(3)}, ${core.group(moved)} of ${core.group(n)} samples ${where}${largest}.`);
      tell("trigger", "strength", st.strength);
    }

    function readTheme() {
      st.theme = dom.readTheme(root);
      st.theme.hues.forEach((hue, i) => {
        root.style.setProperty(`--hue-${i}`, hue);
        root.style.setProperty(`--edge-${i}`, st.theme.edges[i]);
      });
      root.classList.toggle("dark", st.theme.dark);
      side.redraw();
      if (m.renderer && held.meta?.raster) m.renderer.setRaster(held.geometry, new Uint8Array(st.theme.rgb.flat()));
    }
    const observer = new ResizeObserver(() => {
      const W = Math.round(ui.left.clientWidth), dpr = Math.min(2, window.devicePixelRatio || 1);
      if (!W) return;
      side.resize(side.root.clientWidth);
      if (W === st.W && dpr === st.dpr) return m.redraw(false, true);
      st.dpr = dpr;
      size(W);
    });
    function size(W) {
      const wide = root.clientWidth, H = Math.round(W < 480 ? W * 0.94 : Math.min(W * 0.78, 660));
      if (!wide) return;
      Object.assign(st, { W, H });
      ui.stage.style.height = `${H}px`;
      attribute(ui.marks, "viewBox", `0 0 ${W} ${H}`);
      knob.resize(W);
      if (!m.renderer) return;
      m.renderer.resize(W, H, st.dpr);
      m.fit();
      m.restyle();
    }
    observer.observe(ui.left);
    observer.observe(side.root);
    for (const canvas of [ui.still, ui.live]) {
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        if (m.renderer.lost()) return;
        m.renderer = makeRenderer();
        feed();
        m.renderer.resize(st.W, st.H, st.dpr);
        m.restyle();
      });
    }

    return {
      run(bytes) {
        m.runs++;
        root.dataset.runs = m.runs;
        readTheme();
        const drew = Boolean(m.g);
        receive(bytes);
        if (!drew && m.g && st.W) size(st.W);
      },
      free() {
        observer.disconnect();
        window.removeEventListener("wheel", m.elsewhere);
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
  if (!mount) {
    const root = dom.h("div", { class: "cluster-map", "data-testid": "cluster-map" });
    parentElement.append(root);
    const send = {};
    mount = { send, map: map.create(root, send) };
    mounts.set(parentElement, mount);
  }
  mount.send.state = setStateValue;
  mount.send.trigger = setTriggerValue;
  if (data?.byteLength) mount.map.run(data);
  return () => {
    mounts.delete(parentElement);
    mount.map.free();
  };
}
