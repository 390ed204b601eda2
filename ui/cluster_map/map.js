// The component: state of one mount, gestures, messages. One message per gesture, never one per frame.
const map = (() => {
  const { h, s, text, attribute, swatch } = dom;
  const REACH = 14, DWELL = 125, IDS = 2000, MAX_ZOOM = 60;
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
      theme: null, strength: 0, pin: null, selected: new Set(), selectedBy: "", hover: null, focus: null, isolate: -1, tool: "pan",
      zoom: 1, cx: 0.5, cy: 0.5, W: 0, H: 0, dpr: 1, layout: "", mount: "", serials: {}, probe: undefined, moving: false,
    };
    let g = null; // what is derived from the base
    let renderer = null, raf = 0, dirty = { still: false, live: false }, timers = {}, frames = 0, sent = 0, runs = 0, intervals = [], lastFrame = 0;

    const knob = dial.create({ move: (v) => setStrength(v), release: released });
    const side = inspector.create({
      flow: selectFlow, pin: (row) => setPin(row), unpin: () => setPin(null), closeProbe: () => closeProbe(),
    });
    ui.left.append(knob.root);
    ui.grid.append(side.root);

    // ---- messages -------------------------------------------------------------------------------------------
    function tell(kind, name, value) {
      sent++;
      root.dataset.sent = sent;
      send[kind](name, value);
    }
    function later(name, ms, action) {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(action, ms);
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
      if (probe && (st.probe === null || (st.probe === undefined && runs <= 1 && st.pin === null))) {
        const asks = st.probeAt;
        if (!asks || Math.hypot(asks[0] - probe.x, asks[1] - probe.y) < 1e-4) {
          st.probeAt = [probe.x, probe.y];
          st.probe = { ...probe, p: held.extra["probe.p"], image: held.extra["probe.image"] };
          side.showProbe(st.probe);
        }
      }
      restyle();
    }

    function keepTile(number, png) {
      createImageBitmap(new Blob([png], { type: "image/png" })).then((bitmap) => {
        tiles.set(number, bitmap);
        root.dataset.tiles = tiles.size;
        side.redraw();
        if (st.hover !== null && !ui.card.hidden) showCard();
        redraw(false, true);
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
          tell("trigger", "tiles", [...new Set([number])]);
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
        if (st.pin !== null) closeProbe();
      }
      if (select !== undefined) {
        st.selected = new Set(held.extra["control.select"]);
        st.selectedBy = "page";
      }
      if (zoom !== undefined) later("zoom", 0, () => flyTo(zoom === "all" ? null : zoom));
    }

    // ---- geometry -------------------------------------------------------------------------------------------
    function setup(before) {
      const { meta, geometry } = held, n = meta.n;
      const attack = meta.mode === "attack" && Boolean(geometry.paths);
      g = { n, m: attack ? meta.paths : 0, rows: geometry.row, attack, k: meta.k };
      g.rowToBase = new Int32Array(meta.total).fill(-1);
      for (let i = 0; i < n; i++) g.rowToBase[g.rows ? g.rows[i] : i] = i;
      g.rowToPath = new Int32Array(meta.total).fill(-1);
      const pathRows = geometry.path_row ?? [];
      for (let j = 0; j < pathRows.length; j++) g.rowToPath[pathRows[j]] = j;
      g.isPath = new Uint8Array(n);
      if (attack) for (const row of pathRows) if (g.rowToBase[row] >= 0) g.isPath[g.rowToBase[row]] = 1;
      g.index = core.buildIndex(geometry.xy, attack ? g.isPath : null);
      g.smallest = geometry.smallest;
      if (meta.layout !== st.layout) {
        const first = !st.layout;
        st.layout = meta.layout;
        Object.assign(st, { zoom: 1, hover: null, focus: null });
        g.fresh = true;
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
      renderer ??= makeRenderer();
      feed();
      const never = g.smallest ? core.countUpTo(g.smallest, core.TOP) : 0;
      const middle = g.smallest?.length ? g.smallest[g.smallest.length >> 1] : core.TOP + 1;
      const inPath = Boolean(g.smallest?.length);
      const verb = meta.target === null ? "moved" : `moved into cluster ${meta.target}`;
      knob.setup(attack && inPath ? { end: meta.end, strengths: meta.strengths, smallest: g.smallest, noise: geometry.noise ?? null, attack: meta.attack, unit: meta.unit, verb } : null);
      side.setup({
        mode: meta.mode, k: meta.k, paths: g.smallest?.length ?? 0, end: meta.end, target: meta.target, norm: meta.norm, space: meta.space, attack: meta.attack,
        hasPath: inPath, smallest: g.smallest, median: middle > core.TOP ? null : (middle / core.TOP) * meta.end,
        suggestion: attack && never ? { row: pathRows[0], strength: (g.smallest[0] / core.TOP) * meta.end } : null, clusterOf,
      });
      if (st.W) fit();
    }

    function makeRenderer() {
      const made = layers.create(ui.still, ui.live);
      root.dataset.renderer = made ? made.name : "canvas2d";
      return made ?? flat.create(ui.still, ui.live);
    }
    function feed() {
      const { meta, geometry } = held;
      renderer.setBase(geometry.xy, geometry.clusters);
      renderer.setPaths(g.attack ? geometry.paths : null, g.attack ? geometry.smallest : null, geometry.path_clusters);
      renderer.setRaster(meta.raster ? geometry : null, st.theme ? new Uint8Array(st.theme.rgb.flat()) : null);
    }

    const clusterOf = (row) => {
      const i = g.rowToBase[row], j = g.rowToPath[row];
      if (i >= 0) return held.geometry.clusters[i];
      return j >= 0 && held.geometry.path_clusters ? held.geometry.path_clusters[j] : 0;
    };
    const valueOf = (name, row) => {
      const values = held.geometry[`colour.${name}`], i = g.rowToBase[row];
      return values && i >= 0 && values[i] !== 255 ? values[i] : null;
    };
    const labelName = (label) => (label === null ? null : held.meta.names[label] ?? String(label));

    // Where a row is now, in map units; null where it is not drawn.
    function unit(row) {
      const j = g.attack ? g.rowToPath[row] : -1, { geometry } = held;
      if (j >= 0) {
        const { k, t } = now(), a = 2 * (k * g.m + j), b = 2 * ((k + 1) * g.m + j), p = geometry.paths;
        return [(p[a] + (p[b] - p[a]) * t) / 65535, (p[a + 1] + (p[b + 1] - p[a + 1]) * t) / 65535];
      }
      const own = pinPath(row);
      if (own) {
        const { k, t } = now();
        return [own[2 * k] + (own[2 * k + 2] - own[2 * k]) * t, own[2 * k + 1] + (own[2 * k + 3] - own[2 * k + 1]) * t];
      }
      const i = g.rowToBase[row];
      return i < 0 ? null : [geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535];
    }
    // The path that came with the pin's detail, for a row outside the drawn paths.
    const pinPath = (row) => (g.attack && held.parts.pin?.row === row && g.rowToPath[row] < 0 ? held.extra["pin.xy"] : null);

    const scale = () => st.fit * st.zoom;
    const screen = ([x, y]) => [st.W / 2 + (x - st.cx) * scale(), st.H / 2 - (y - st.cy) * scale()];
    const unscreen = (x, y) => [st.cx + (x - st.W / 2) / scale(), st.cy - (y - st.H / 2) / scale()];
    const toMap = ([x, y]) => [held.meta.origin[0] + x * held.meta.origin[2], held.meta.origin[1] + y * held.meta.origin[2]];

    function fit() {
      const [x0, y0, x1, y1] = held.meta.box, narrow = st.W < 480;
      const px = narrow ? 24 : 44, py = narrow ? 24 : 28;
      st.fit = Math.min((st.W - 2 * px) / Math.max(1e-6, x1 - x0), (st.H - 2 * py) / Math.max(1e-6, y1 - y0));
      placeLabels();
    }
    function placeLabels() {
      const { geometry, meta } = held, whole = { ...st, zoom: 1, cx: (meta.box[0] + meta.box[2]) / 2, cy: (meta.box[1] + meta.box[3]) / 2 };
      const X = (x) => whole.W / 2 + (x / 65535 - whole.cx) * st.fit, Y = (y) => whole.H / 2 - (y / 65535 - whole.cy) * st.fit;
      const xs = new Float32Array(g.n), ys = new Float32Array(g.n);
      for (let i = 0; i < g.n; i++) { xs[i] = X(geometry.xy[2 * i]); ys[i] = Y(geometry.xy[2 * i + 1]); }
      const others = new Float32Array(g.attack ? geometry.paths.length : 0);
      for (let i = 0; i < others.length; i += 2) { others[i] = X(geometry.paths[i]); others[i + 1] = Y(geometry.paths[i + 1]); }
      g.density = core.density(xs, ys, st.W, st.H);
      const bar = ui.toolbar.getBoundingClientRect();
      const placed = core.placeLabels({ xs, ys, clusters: geometry.clusters, k: meta.k, others, width: st.W, height: st.H, taken: [[st.W - bar.width, 0, st.W, bar.height]] });
      g.sizes = new Uint32Array(meta.k);
      for (const c of geometry.clusters) g.sizes[c]++;
      ui.groups.labels.replaceChildren();
      g.labels = placed.map(({ cluster, x, y, full }) => {
        const size = s("text", { class: "size", y: 15, "text-anchor": "middle" });
        const number = s("text", { class: "number", x: -4, y: -1, text: String(cluster) });
        const element = s(
          "g", { class: "label", "data-cluster": cluster }, s("circle", { cx: -13, cy: -6, r: 4, style: `fill: var(--hue-${cluster % 10}); stroke: var(--edge-${cluster % 10})` }), number, full ? size : null,
        );
        element.onclick = () => selectCluster(cluster);
        element.onpointerenter = () => setIsolate(cluster);
        element.onpointerleave = () => setIsolate(-1);
        ui.groups.labels.append(element);
        return { cluster, element, size, full, at: [whole.cx + (x - st.W / 2) / st.fit, whole.cy - (y - st.H / 2) / st.fit] };
      });
    }

    // ---- the dial's moment ----------------------------------------------------------------------------------
    let moment = null;
    function now() {
      if (moment) return moment;
      const { meta, geometry } = held, strength = st.strength;
      if (!g.attack) return (moment = { strength, k: 0, t: 0, later: 0, q: 0, moved: 0, noise: 0, flow: null });
      const at = core.stepOf(meta.strengths, strength), q = core.threshold(strength, meta.end);
      // At strength 0 nothing has moved, whatever rounding says.
      const moved = core.countUpTo(g.smallest, q), noise = geometry.noise ? core.countUpTo(geometry.noise, q) : 0;
      return (moment = { strength, ...at, q, moved, noise, flow: core.flow(geometry.path_clusters, g.m, g.k, moved, at.later) });
    }
    function setStrength(value) {
      st.strength = Math.min(held.meta.end, Math.max(0, value));
      st.moving = true;
      moment = null;
      ui.card.hidden = true;
      redraw(false, true);
    }
    function released(value) {
      st.moving = false;
      setStrength(value);
      st.moving = false;
      root.dataset.intervals = intervals.map((v) => v.toFixed(1)).join(" ");
      intervals = [];
      lastFrame = 0;
      const { moved, flow } = now(), n = g.m;
      const where = held.meta.target === null ? "left their cluster" : `moved into cluster ${held.meta.target}`;
      const largest = flow.largest ? `; ${flow.largest.from} to ${flow.largest.to} is the largest flow` : "";
      say(`At strength ${st.strength.toFixed(3)}, ${core.group(moved)} of ${core.group(n)} samples ${where}${largest}.`);
      tell("trigger", "strength", st.strength);
    }

    // ---- looks ----------------------------------------------------------------------------------------------
    function restyle() {
      if (!held.meta || !st.theme) return;
      moment = null;
      const { geometry, meta } = held, { theme, options } = st, colour = options.colour;
      const values = colour === "cluster" ? geometry.clusters : geometry[`colour.${colour}`];
      if (!values && st.asking !== meta.layout) { st.asking = meta.layout; tell("trigger", "resend", held.base); }
      const ramp = colour === "confidence" || colour === "fragility";
      const table = new Uint8Array(256 * 3), grey = theme.ink.map((v, i) => (v * 0.35 + theme.ground[i] * 0.65) * 255);
      for (let v = 0; v < 256; v++) {
        table.set(v === 255 && colour !== "cluster" ? grey : ramp ? dom.onRamp(theme.rampRgb, v / 254) : theme.rgb[v % 10], 3 * v);
      }
      const hot = new Set(st.selected);
      for (const row of held.extra["options.highlight"] ?? []) hot.add(row);
      const mark = (row) => (hot.size ? (hot.has(row) ? 2 : 1) : 0);
      const rgba = new Uint8Array(4 * g.n), marked = new Uint8Array(g.n);
      for (let i = 0; i < g.n; i++) {
        const value = values ? values[i] : 255;
        rgba.set(table.subarray(3 * value, 3 * value + 3), 4 * i);
        const missing = ramp && value === 255;
        rgba[4 * i + 3] = g.attack && g.isPath[i] ? 0 : (g.attack ? 255 : 255 * (g.density?.[i] ?? 1)) * (missing ? 0.5 : 1);
        marked[i] = g.attack && g.isPath[i] ? 0 : mark(g.rows ? g.rows[i] : i);
      }
      renderer.setBaseLook(rgba, marked);
      if (g.attack) {
        const look = new Uint8Array(4 * g.m), pathMarks = new Uint8Array(g.m);
        for (let j = 0; j < g.m; j++) {
          const row = geometry.path_row[j], i = g.rowToBase[row], value = colour === "cluster" ? geometry.path_clusters[j] : values && i >= 0 ? values[i] : 255;
          look.set(table.subarray(3 * value, 3 * value + 3), 4 * j);
          look[4 * j + 3] = 255;
          pathMarks[j] = mark(row);
        }
        renderer.setPathLook(look, pathMarks);
      }
      g.marked = hot.size;
      showKey();
      const note = [options.note, renderer.name === "canvas2d" ? "No WebGL here: drawn in Canvas2D, plainer and slower." : ""].filter(Boolean);
      ui.note.hidden = !note.length;
      text(ui.note, note.join(" "));
      attribute(ui.stage, "aria-label", `Map of ${core.group(meta.n)} samples in ${meta.k} clusters. ${held.parts.alt} Arrow keys go from point to point, Enter pins, Escape clears, plus, minus and 0 zoom.`);
      redraw(true, true);
    }

    function showKey() {
      const { meta } = held, { options, theme } = st, items = [];
      const item = (icon, words) => h("span", { class: "item" }, icon, words);
      const icon = (width, ...shapes) => s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true" }, ...shapes);
      const ring = (cx, r, width) => s("circle", { cx, cy: 8, r, class: "ring", "stroke-width": width });
      if (g.attack) {
        items.push(item(icon(14, ring(7, 5, 1), s("circle", { cx: 7, cy: 8, r: 2.6, class: "full" })), meta.target === null ? "moved to another cluster" : `moved into cluster ${meta.target}`));
        items.push(item(icon(26, s("path", { d: "M0 8 L26 7.2 L26 8.8 Z", class: "full soft" })), "its path"));
        items.push(item(h("b", { text: "+5" }), "net change of a cluster"));
        items.push(item(icon(26, s("circle", { cx: 5, cy: 8, r: 4, class: "ring ghost" }), s("line", { x1: 9, x2: 14, y1: 8, y2: 8, class: "ring", "stroke-width": 1.75 }), ring(19, 5, 2)), "pinned, and its ghost"));
      } else if (options.colour === "cluster") items.push(item(swatch(0), "colour: cluster"), item(h("b", { text: "980" }), "samples in it"));
      if (options.colour === "label") {
        const count = Math.min(10, Math.max(meta.names.length, 10));
        for (let v = 0; v < count; v++) items.push(item(swatch(v), labelName(v)));
      }
      if (options.colour === "confidence" || options.colour === "fragility") {
        const ramp = h("i", { class: "ramp", style: `background: linear-gradient(to right, ${theme.ramp.join(",")})` });
        const fragile = options.colour === "fragility";
        items.push(item(null, fragile ? "smallest strength 0" : "confidence 0"), item(ramp, fragile ? `${core.brief(meta.end)} or never` : "1"));
        if (fragile) items.push(item(null, `grey: no path; ${core.group(meta.paths)} of ${core.group(meta.total)} have one`));
      }
      const { tint, edges, trust } = options;
      if (meta.raster && (tint || edges)) items.push(item(null, tint ? "tint: the winning cluster, strong where its margin is large" : "line: the winner changes"));
      if (meta.raster && trust) items.push(item(icon(18, s("path", { d: "M1 15 L8 1 M7 15 L14 1 M13 15 L18 5", class: "ring", "stroke-width": 1 })), "the picture is unreliable"));
      const shown = meta.n < meta.total ? `${core.group(meta.n)} of ${core.group(meta.total)} points shown. ` : g.attack ? "" : `${core.group(meta.n)} points. `;
      ui.key.replaceChildren(...items, h("span", { class: "item end", text: `${shown}Map distances are distorted.` }));
    }

    // ---- drawing --------------------------------------------------------------------------------------------
    function redraw(stillToo, liveToo) {
      dirty.still ||= stillToo;
      dirty.live ||= liveToo;
      if (!raf && g && st.W) raf = requestAnimationFrame(frame);
    }
    function look() {
      const { theme, options, dpr } = st, S = scale(), grow = Math.max(0.76, Math.min(1, Math.sqrt((st.W * st.H) / 360000))) * Math.min(2.4, st.zoom ** 0.3);
      const x = (2 * S) / st.W, y = (2 * S) / st.H;
      const many = Math.max(0.4, Math.min(1, Math.sqrt(10000 / g.n)));
      const isolate = st.isolate >= 0 ? st.isolate : options.highlight_cluster ?? -1;
      const quiet = options.only_moved ? 0.22 : 1;
      return {
        camera: [-st.cx * x, -st.cy * y, x, y], ink: theme.ink, ground: theme.ground, dpr, width: st.W, height: st.H, isolate, faded: 0.14,
        baseSize: (g.attack ? 3.3 : 3.8) * grow * (many < 1 ? Math.max(0.62, many) : 1), scale: grow, pathSize: 3.9 * grow,
        baseAlpha: Math.min(1, (g.attack ? (theme.dark ? 0.34 : 0.3) * Math.max(0.55, many) : theme.dark ? 0.92 : 0.88) * quiet * (g.attack ? 1 + 0.5 * Math.log2(st.zoom) : 1)),
        pathAlpha: theme.dark ? 0.62 : 0.58, box: held.meta.raster, onlyMoved: options.only_moved,
        regions: held.meta.raster ? { tint: Number(options.tint), edges: Number(options.edges), trust: Number(options.trust) } : null,
      };
    }
    function frame(time) {
      raf = 0;
      if (renderer.lost() || !st.options) return;
      const values = look(), moments = now();
      if (dirty.still) renderer.drawStatic(values);
      if (dirty.live || dirty.still) renderer.drawOverlay({ ...values, ...moments });
      if (dirty.still) moveLabels();
      if (dirty.live || dirty.still) {
        showLabels(moments);
        showPinned();
        showRings();
        if (g.attack) knob.update(moments);
        side.update(pinned(), moments, st.theme);
      }
      dirty = { still: false, live: false };
      frames++;
      if (root.dataset.measure) {
        renderer.finish();
        const end = performance.now();
        if (lastFrame) intervals.push(end - lastFrame);
        lastFrame = st.moving ? end : 0;
      }
      publish(moments);
    }
    function publish(moments) {
      const d = root.dataset, [x0, y0] = toMap(unscreen(0, st.H)), [x1, y1] = toMap(unscreen(st.W, 0));
      Object.assign(d, {
        ready: "1", mode: held.meta.mode, points: g.n, paths: g.m, strength: st.strength.toFixed(4), moved: moments.moved, noise: moments.noise, pin: st.pin ?? "",
        detail: held.parts.pin?.row ?? "", selected: st.selected.size, probe: st.probe === undefined ? "" : st.probe === null ? "waiting" : "answered", zoom: st.zoom.toFixed(3),
        camera: [x0, y0, x1, y1].map((v) => v.toFixed(3)).join(","), colour: st.options.colour, theme: st.theme.dark ? "dark" : "light", frames,
      });
    }

    function moveLabels() {
      for (const { element, at, cluster } of g.labels) {
        const [x, y] = screen(at);
        element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
        element.style.display = st.options.show_labels ? "" : "none";
      }
    }
    function showLabels(moments) {
      const net = g.attack && st.strength > 0 && moments.flow;
      for (const { size, full, cluster } of g.labels) {
        if (full) text(size, net ? core.signed(moments.flow.net[cluster]) : core.group(g.sizes[cluster]));
      }
    }

    // The pinned sample as the inspector wants it.
    function pinned() {
      const row = st.pin;
      if (row === null) return null;
      const { meta, extra, parts } = held, j = g.rowToPath[row], cluster = clusterOf(row), moments = now();
      const detail = parts.pin?.row === row ? { ...parts.pin } : null;
      if (detail) {
        for (const [name, array] of Object.entries(extra)) if (name.startsWith("pin.")) detail[name.slice(4)] = array;
        if (extra["pin.neighbours"]) detail.neighbours = extra["pin.neighbours"];
      }
      const q = j >= 0 ? g.smallest[j] : detail?.searched ? (detail.smallest === null ? 65535 : Math.ceil((detail.smallest / (meta.end || 1)) * core.TOP)) : null;
      // In mode "explore" the detail's own smallest flip counts: it may lie beyond the dial.
      const flip = !g.attack && detail?.searched ? detail.smallest : q === null || q > core.TOP ? null : detail?.smallest ?? (q / core.TOP) * meta.end;
      let after = cluster;
      if (g.attack && q !== null && q <= moments.q) {
        if (j >= 0) after = held.geometry.path_clusters[moments.later * g.m + j];
        else if (extra["pin.clusters"]) after = extra["pin.clusters"][moments.later];
      }
      const beyond = g.smallest?.length && q !== null && q <= core.TOP ? g.smallest.length - core.countUpTo(g.smallest, q) : null;
      const rank = beyond === null || !g.attack ? null : Math.round((100 * beyond) / g.smallest.length);
      const waiting = detail ? "" : parts.pin_note || (g.attack ? `Computing the path of sample ${row} \u2026` : `Asking the model about sample ${row} \u2026`);
      const label = labelName(valueOf("label", row));
      return { row, cluster, now: after, flip, rank, label, detail, waiting, inPath: j >= 0, image: detail?.image ? null : tiles.size ? tileIfHeld(row) : null };
    }
    function tileIfHeld(row) {
      const sprites = held.meta.sprites;
      return sprites && tiles.has(Math.floor(row / sprites.per)) ? tileOf(row) : null;
    }

    function showPinned() {
      const layer = ui.groups.trail;
      layer.replaceChildren();
      knob.setFlip(g.attack && st.pin !== null ? pinned().flip : null);
      if (st.pin === null) return;
      const head = unit(st.pin);
      if (!head) return;
      const [x, y] = screen(head), hue = clusterOf(st.pin) % 10, { k, t } = now(), j = g.rowToPath[st.pin], own = pinPath(st.pin);
      const points = [];
      if (g.attack && (j >= 0 || own)) {
        for (let step = 0; step <= k; step++) {
          const p = j >= 0 ? [held.geometry.paths[2 * (step * g.m + j)] / 65535, held.geometry.paths[2 * (step * g.m + j) + 1] / 65535] : [own[2 * step], own[2 * step + 1]];
          points.push(screen(p));
        }
        points.push([x, y]);
      }
      if (points.length > 1 && Math.hypot(points[0][0] - x, points[0][1] - y) > 1) {
        const d = `M${points.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L")}`;
        layer.append(s("path", { class: "halo", d }), s("path", { class: "way", d }));
        layer.append(s("circle", { class: "ghost-ground", cx: points[0][0], cy: points[0][1], r: 5.5 }), s("circle", { class: "ghost", cx: points[0][0], cy: points[0][1], r: 5.5 }));
      }
      layer.append(s("circle", { class: "head-ring", cx: x, cy: y, r: 7.5 }), s("circle", { class: "head-fill", cx: x, cy: y, r: 4.2, style: `fill: var(--hue-${hue})` }));
    }
    function showRings() {
      for (const [name, row] of [["hover", st.hover], ["focus", st.focus]]) {
        const layer = ui.groups[name], at = row === null ? null : unit(row);
        layer.replaceChildren();
        if (!at) continue;
        const [cx, cy] = screen(at);
        layer.append(s("circle", { class: "around", cx, cy, r: name === "focus" ? 9 : 6.5 }));
      }
      const layer = ui.groups.probe;
      layer.replaceChildren();
      if (st.probeAt && st.probe !== undefined) {
        const [x, y] = screen(st.probeAt);
        const d = `M${x - 7} ${y}h14M${x} ${y - 7}v14`;
        layer.append(s("path", { class: "halo", d }), s("path", { class: "way", d }));
      }
    }

    // ---- picking, hover, pin --------------------------------------------------------------------------------
    function pick(x, y) {
      const [ux, uy] = unscreen(x, y), reach = (REACH / scale()) * 65535;
      let best = -1, least = REACH;
      if (!st.options.only_moved) {
        const found = core.nearest(g.index, ux * 65535, uy * 65535, reach);
        if (found.at >= 0) { best = g.rows ? g.rows[found.at] : found.at; least = (found.distance / 65535) * scale(); }
      }
      if (g.attack) {
        const { k, t, moved } = now(), p = held.geometry.paths, S = scale(), last = st.options.only_moved ? moved : g.m;
        for (let j = 0; j < last; j++) {
          const a = 2 * (k * g.m + j), b = 2 * ((k + 1) * g.m + j);
          const dx = ((p[a] + (p[b] - p[a]) * t) / 65535 - ux) * S, dy = ((p[a + 1] + (p[b + 1] - p[a + 1]) * t) / 65535 - uy) * S;
          const d = Math.hypot(dx, dy);
          // Of two points at one place the one drawn on top is meant.
          if (d < least || (d === least && j < moved)) { least = d; best = held.geometry.path_row[j]; }
        }
      }
      return best < 0 ? null : best;
    }
    function hoverAt(x, y) {
      const row = pick(x, y);
      if (row === st.hover) return;
      st.hover = row;
      ui.card.hidden = true;
      clearTimeout(timers.card);
      ui.stage.style.cursor = row !== null ? "pointer" : "";
      showRings();
      if (row !== null) later("card", DWELL, () => showCard());
    }
    function showCard(row = st.hover) {
      const at = row === null || st.moving ? null : unit(row);
      if (!at) { ui.card.hidden = true; return; }
      const cluster = clusterOf(row), label = labelName(valueOf("label", row)), confidence = valueOf("confidence", row), j = g.rowToPath[row];
      const picture = tileOf(row), canvas = held.meta.sprites ? h("canvas", { width: held.meta.sprites.w, height: held.meta.sprites.h, "aria-hidden": "true" }) : null;
      if (picture) canvas.getContext("2d").drawImage(picture.bitmap, picture.x, picture.y, picture.w, picture.h, 0, 0, picture.w, picture.h);
      const line = (words) => h("span", { text: words });
      const lines = h("div", {}, h("b", { text: `Sample ${row}` }), h("span", {}, swatch(cluster), `cluster ${cluster}`));
      if (label !== null) lines.append(line(`label ${label}`));
      if (confidence !== null) lines.append(line(`confidence ${(confidence / 254).toFixed(2)}`));
      if (j >= 0) lines.append(line(g.smallest[j] > core.TOP ? `unmoved up to ${core.brief(held.meta.end)}` : `moves at ${((g.smallest[j] / core.TOP) * held.meta.end).toFixed(3)}`));
      ui.card.replaceChildren(...(canvas ? [canvas] : []), lines);
      ui.card.hidden = false;
      ui.card.dataset.row = row;
      const [x, y] = screen(at), box = ui.card.getBoundingClientRect();
      const flip = x + 16 + box.width > st.W;
      ui.card.style.left = `${Math.max(0, flip ? x - 14 - box.width : x + 14)}px`;
      ui.card.style.top = `${Math.max(0, Math.min(st.H - box.height, y - box.height / 2))}px`;
    }
    function setPin(row) {
      st.pin = row;
      closeProbe();
      knob.stop();
      say(row === null ? "Pin removed." : `Sample ${row} pinned, cluster ${clusterOf(row)}.`);
      tell("trigger", "pin", { row });
      redraw(false, true);
    }
    function closeProbe() {
      st.probe = undefined;
      st.probeAt = null;
      side.showProbe(undefined);
      redraw(false, true);
    }
    function askProbe(x, y) {
      st.probeAt = unscreen(x, y);
      st.probe = null;
      side.showProbe(null);
      tell("trigger", "probe", toMap(st.probeAt));
      redraw(false, true);
    }

    // ---- selection ------------------------------------------------------------------------------------------
    function select(rows, by, rest) {
      st.selected = new Set(rows);
      st.selectedBy = by;
      st.serial = (st.serial ?? 0) + 1;
      const few = rows.length <= IDS ? { rows } : rest;
      say(rows.length ? `${core.group(rows.length)} samples selected.` : "Selection cleared.");
      tell("state", "selection", { by, serial: st.serial, strength: st.strength, count: rows.length, ...few });
      restyle();
    }
    function drawnRows(test) {
      const rows = [], { geometry } = held;
      if (!st.options.only_moved) {
        for (let i = 0; i < g.n; i++) {
          if (!(g.attack && g.isPath[i]) && test(geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535)) rows.push(g.rows ? g.rows[i] : i);
        }
      }
      const last = g.attack ? (st.options.only_moved ? now().moved : g.m) : 0;
      for (let j = 0; j < last; j++) {
        const row = geometry.path_row[j];
        if (test(...unit(row))) rows.push(row);
      }
      return rows.sort((a, b) => a - b);
    }
    function selectArea(points, by) {
      const polygon = points.map(([x, y]) => unscreen(x, y));
      const xs = polygon.map((p) => p[0]), ys = polygon.map((p) => p[1]);
      const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      const rows = drawnRows((x, y) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3] && core.insidePolygon(polygon, x, y));
      select(rows, by, { polygon: polygon.map(toMap), only_moved: st.options.only_moved });
    }
    function selectCluster(cluster) {
      const rows = [];
      for (let i = 0; i < g.n; i++) if (held.geometry.clusters[i] === cluster) rows.push(g.rows ? g.rows[i] : i);
      select(rows, `cluster ${cluster}`, { cluster });
    }
    function selectFlow(from, to) {
      const { moved, later: step } = now(), clusters = held.geometry.path_clusters, rows = [];
      for (let j = 0; j < moved; j++) {
        if (clusters[j] === from && clusters[step * g.m + j] === to) rows.push(held.geometry.path_row[j]);
      }
      select(rows.sort((a, b) => a - b), `flow ${from} -> ${to}, strength ${st.strength.toFixed(3)}`, { flow: [from, to] });
    }
    function setIsolate(cluster) {
      if (st.isolate === cluster) return;
      st.isolate = cluster;
      redraw(true, true);
    }

    // ---- camera ---------------------------------------------------------------------------------------------
    function setCamera(zoom, cx, cy) {
      const [x0, y0, x1, y1] = held.meta.box, clamp = (v, a, b) => Math.min(Math.max(v, a), b);
      st.zoom = clamp(zoom, 0.7, MAX_ZOOM);
      st.cx = clamp(cx, x0, x1);
      st.cy = clamp(cy, y0, y1);
      ui.card.hidden = true;
      ui.stage.classList.toggle("zoomed", st.zoom > 1.001);
      redraw(true, true);
      if (held.parts.control.camera) {
        later("camera", 450, () => {
          const whole = Math.abs(st.zoom - 1) < 1e-3;
          tell("state", "camera", whole ? [] : [...toMap(unscreen(0, st.H)), ...toMap(unscreen(st.W, 0))]);
        });
      }
    }
    function zoomAt(factor, x = st.W / 2, y = st.H / 2) {
      const zoom = Math.min(MAX_ZOOM, Math.max(0.7, st.zoom * factor)), [ux, uy] = unscreen(x, y), S = st.fit * zoom;
      setCamera(zoom, ux - (x - st.W / 2) / S, uy + (y - st.H / 2) / S);
    }
    const home = () => [1, (held.meta.box[0] + held.meta.box[2]) / 2, (held.meta.box[1] + held.meta.box[3]) / 2];
    // To a box in [0, 1], or to the whole map; a short tween, or at once where motion is unwanted.
    function flyTo(box) {
      if (!st.W) return later("zoom", 60, () => flyTo(box));
      let to = home();
      if (box) {
        const w = Math.max(box[2] - box[0], 1e-3), hgt = Math.max(box[3] - box[1], 1e-3);
        to = [Math.min((st.W * 0.8) / w, (st.H * 0.8) / hgt) / st.fit, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
        to[0] = Math.min(MAX_ZOOM, Math.max(1, to[0]));
      }
      if (calm.matches) return setCamera(...to);
      const from = [st.zoom, st.cx, st.cy], begin = performance.now();
      const step = (time) => {
        const u = Math.min(1, Math.max(0, (time - begin) / 320)), e = u * u * (3 - 2 * u);
        const zoom = from[0] * (to[0] / from[0]) ** e;
        setCamera(zoom, from[1] + (to[1] - from[1]) * e, from[2] + (to[2] - from[2]) * e);
        if (u < 1) timers.fly = requestAnimationFrame(step);
      };
      cancelAnimationFrame(timers.fly);
      timers.fly = requestAnimationFrame(step);
    }

    // ---- gestures -------------------------------------------------------------------------------------------
    const pointers = new Map();
    let gesture = null, lastPick = 0, wheelElsewhere = 0;
    const local = (event) => {
      const box = ui.stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const onStage = (event) => event.target === ui.stage || event.target === ui.live || event.target === ui.still || ui.marks.contains(event.target);
    ui.stage.onpointerdown = (event) => {
      if (!g || event.button > 0 || !onStage(event) || event.target.closest?.(".label")) return;
      pointers.set(event.pointerId, local(event));
      ui.stage.setPointerCapture(event.pointerId);
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()];
        gesture = { kind: "pinch", distance: Math.hypot(a[0] - b[0], a[1] - b[1]) };
        return;
      }
      const kind = event.shiftKey ? "lasso" : st.tool;
      gesture = { kind, start: local(event), points: [local(event)], moved: false, touch: event.pointerType === "touch" };
    };
    ui.stage.onpointermove = (event) => {
      if (!g) return;
      const [x, y] = local(event);
      if (!gesture) {
        const time = performance.now();
        const look_ = () => { lastPick = performance.now(); if (!gesture && !st.moving) hoverAt(x, y); };
        if (time - lastPick >= 50) look_(); else later("pick", 50 - (time - lastPick), look_);
        return;
      }
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, [x, y]);
      if (gesture.kind === "pinch") {
        const [a, b] = [...pointers.values()], distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
        zoomAt(distance / Math.max(1, gesture.distance), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        gesture.distance = distance;
        return;
      }
      if (!gesture.moved && Math.hypot(x - gesture.start[0], y - gesture.start[1]) < 4) return;
      gesture.moved = true;
      if (st.hover !== null) { st.hover = null; ui.card.hidden = true; showRings(); }
      if (gesture.kind === "pan") {
        setCamera(st.zoom, st.cx - (x - before[0]) / scale(), st.cy + (y - before[1]) / scale());
      } else {
        const [x0, y0] = gesture.start;
        if (gesture.kind === "box") gesture.points = [[x0, y0], [x, y0], [x, y], [x0, y]];
        else gesture.points.push([x, y]);
        const d = `M${gesture.points.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L")}Z`;
        ui.groups.gesture.replaceChildren(s("path", { class: "shape", d }));
      }
    };
    ui.stage.onpointerup = (event) => {
      pointers.delete(event.pointerId);
      const done = gesture;
      gesture = pointers.size && done?.kind === "pinch" ? done : null;
      ui.groups.gesture.replaceChildren();
      if (!done || done.kind === "pinch" || !g) return;
      if (done.moved) {
        if (done.kind !== "pan") selectArea(done.points, done.kind);
        return;
      }
      const [x, y] = local(event), row = pick(x, y);
      if (row !== null) {
        if (row !== st.pin) setPin(row);
        else closeProbe();
      } else if (held.meta.probe) askProbe(x, y);
      else if (st.selected.size) select([], "", {});
    };
    ui.stage.onpointercancel = (event) => {
      pointers.delete(event.pointerId);
      gesture = null;
      ui.groups.gesture.replaceChildren();
    };
    ui.stage.onpointerleave = () => {
      clearTimeout(timers.pick);
      clearTimeout(timers.card);
      if (st.hover === null) return;
      st.hover = null;
      ui.card.hidden = true;
      showRings();
    };
    // A page scrolled past the map must not zoom it: a wheel that began elsewhere goes on scrolling.
    const elsewhere = (event) => { if (!event.composedPath().includes(ui.stage)) wheelElsewhere = performance.now(); };
    window.addEventListener("wheel", elsewhere, { passive: true });
    ui.stage.onwheel = (event) => {
      if (!g) return;
      if (performance.now() - wheelElsewhere < 250) { wheelElsewhere = performance.now(); return; }
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...local(event));
    };
    ui.stage.onkeydown = (event) => {
      if (!g || event.target !== ui.stage || event.ctrlKey || event.metaKey || event.altKey) return;
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (arrow) walk(...arrow);
      else if (event.key === "Enter" && st.focus !== null) setPin(st.focus);
      else if (event.key === "+" || event.key === "=") zoomAt(1.4);
      else if (event.key === "-") zoomAt(1 / 1.4);
      else if (event.key === "0") flyTo(null);
      else if (event.key === "Escape") clear();
      else return;
      event.preventDefault();
    };
    ui.stage.onblur = () => {
      st.focus = null;
      if (g) showRings();
      if (st.hover === null) ui.card.hidden = true;
    };
    function clear() {
      if (gesture) { gesture = null; ui.groups.gesture.replaceChildren(); }
      else if (st.probe !== undefined) closeProbe();
      else if (st.selected.size) select([], "", {});
      else if (st.focus !== null) { st.focus = null; ui.card.hidden = true; showRings(); }
      else if (st.pin !== null) setPin(null);
    }
    function* everyPoint() {
      const { geometry } = held;
      if (!st.options.only_moved) {
        for (let i = 0; i < g.n; i++) {
          if (!(g.attack && g.isPath[i])) yield [g.rows ? g.rows[i] : i, ...screen([geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535])];
        }
      }
      const last = g.attack ? (st.options.only_moved ? now().moved : g.m) : 0;
      for (let j = 0; j < last; j++) yield [geometry.path_row[j], ...screen(unit(geometry.path_row[j]))];
    }
    function walk(dx, dy) {
      const from = st.focus ?? st.pin;
      let row;
      if (from === null || !unit(from)) row = nearestTo(st.W / 2, st.H / 2);
      else row = core.towards(everyPoint(), ...screen(unit(from)), dx, dy);
      if (row === null || row === undefined) return;
      st.focus = row;
      const [x, y] = screen(unit(row));
      if (x < 20 || y < 20 || x > st.W - 20 || y > st.H - 20) setCamera(st.zoom, ...unit(row));
      showRings();
      showCard(row);
      say(`Sample ${row}, cluster ${clusterOf(row)}.`);
    }
    function nearestTo(x, y) {
      let best = null, least = Infinity;
      for (const [row, px, py] of everyPoint()) {
        const d = Math.hypot(px - x, py - y);
        if (d < least) { least = d; best = row; }
      }
      return best;
    }

    function setTool(name) {
      st.tool = name;
      for (const tool of ["pan", "box", "lasso"]) attribute(ui.tools[tool], "aria-pressed", String(tool === name));
      ui.stage.dataset.tool = name;
    }
    for (const name of ["pan", "box", "lasso"]) ui.tools[name].onclick = () => setTool(name);
    setTool("pan");
    ui.tools.in.onclick = () => g && zoomAt(1.5);
    ui.tools.out.onclick = () => g && zoomAt(1 / 1.5);
    ui.tools.fit.onclick = () => g && flyTo(null);
    ui.tools.png.onclick = () => g && savePng();

    // Draws and reads in one task, since the drawing buffers are not kept.
    function savePng() {
      const canvas = h("canvas", { width: ui.still.width, height: ui.still.height }), context = canvas.getContext("2d"), { theme, dpr } = st;
      const css = (c) => `rgb(${c.map((v) => Math.round(v * 255)).join(",")})`, style = getComputedStyle(ui.stage);
      context.fillStyle = css(theme.ground);
      context.fillRect(0, 0, canvas.width, canvas.height);
      const values = look();
      renderer.drawStatic(values);
      context.drawImage(ui.still, 0, 0);
      renderer.drawOverlay({ ...values, ...now() });
      context.drawImage(ui.live, 0, 0);
      context.scale(dpr, dpr);
      context.lineJoin = "round";
      for (const { at, cluster, full, size } of st.options.show_labels ? g.labels : []) {
        const [x, y] = screen(at), words = [[String(cluster), x - 4, y - 1, `600 15px ${style.fontFamily}`, "left"]];
        if (full) words.push([size.textContent, x, y + 15, `400 12px ${style.fontFamily}`, "center"]);
        context.fillStyle = theme.hues[cluster % 10];
        context.beginPath();
        context.arc(x - 13, y - 6, 4, 0, 7);
        context.fill();
        for (const [word, wx, wy, font, align] of words) {
          Object.assign(context, { font, textAlign: align, lineWidth: 4, strokeStyle: css(theme.ground), fillStyle: css(theme.ink) });
          context.strokeText(word, wx, wy);
          context.fillText(word, wx, wy);
        }
      }
      for (const element of ui.groups.trail.children) {
        const computed = getComputedStyle(element);
        const shape = element.tagName === "path" ? new Path2D(element.getAttribute("d")) : new Path2D();
        if (element.tagName === "circle") shape.arc(...["cx", "cy", "r"].map((name) => Number(element.getAttribute(name))), 0, 7);
        if (computed.fill !== "none") { context.fillStyle = computed.fill; context.fill(shape); }
        context.setLineDash(computed.strokeDasharray === "none" ? [] : computed.strokeDasharray.split(",").map(parseFloat));
        if (computed.stroke !== "none") { context.strokeStyle = computed.stroke; context.lineWidth = parseFloat(computed.strokeWidth); context.stroke(shape); }
      }
      canvas.toBlob((blob) => {
        const url = URL.createObjectURL(blob);
        h("a", { href: url, download: "driftmap.png" }).click();
        setTimeout(() => URL.revokeObjectURL(url), 10000);
      });
    }

    // ---- theme and size -------------------------------------------------------------------------------------
    function readTheme() {
      st.theme = dom.readTheme(root);
      st.theme.hues.forEach((hue, i) => {
        root.style.setProperty(`--hue-${i}`, hue);
        root.style.setProperty(`--edge-${i}`, st.theme.edges[i]);
      });
      root.classList.toggle("dark", st.theme.dark);
      side.redraw();
      if (renderer && held.meta?.raster) renderer.setRaster(held.geometry, new Uint8Array(st.theme.rgb.flat()));
    }
    const observer = new ResizeObserver(() => {
      const W = Math.round(ui.left.clientWidth), dpr = Math.min(2, window.devicePixelRatio || 1);
      if (!W) return;
      side.resize(side.root.clientWidth);
      if (W === st.W && dpr === st.dpr) return redraw(false, true);
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
      if (!renderer) return;
      renderer.resize(W, H, st.dpr);
      fit();
      restyle();
    }
    observer.observe(ui.left);
    observer.observe(side.root);
    for (const canvas of [ui.still, ui.live]) {
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        if (renderer.lost()) return;
        renderer = makeRenderer();
        feed();
        renderer.resize(st.W, st.H, st.dpr);
        restyle();
      });
    }

    return {
      run(bytes) {
        runs++;
        root.dataset.runs = runs;
        readTheme();
        const drew = Boolean(g);
        receive(bytes);
        if (!drew && g && st.W) size(st.W);
      },
      free() {
        observer.disconnect();
        window.removeEventListener("wheel", elsewhere);
        cancelAnimationFrame(raf);
        cancelAnimationFrame(timers.fly);
        knob.stop();
        Object.values(timers).forEach(clearTimeout);
        renderer?.free();
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
