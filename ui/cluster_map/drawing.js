// How one panel looks: colours and marks, labels, the pin, rings. Adds to a panel `m`.
const drawing = (() => {
  const { s, text, attribute } = dom;

  function add(m) {
    const { ui, st, held, tiles } = m;

    function restyleHere() {
      m.moment = null;
      const { geometry, meta } = held, { theme, options } = st, colour = options.colour;
      const values = colour === "cluster" ? geometry.clusters : geometry[`colour.${colour}`];
      if (!values && st.asking !== meta.layout) { st.asking = meta.layout; m.tell("trigger", "resend", held.base); }
      const ramp = colour === "confidence" || colour === "fragility";
      const table = new Uint8Array(256 * 3), grey = theme.ink.map((v, i) => (v * 0.35 + theme.ground[i] * 0.65) * 255);
      for (let v = 0; v < 256; v++) {
        table.set(v === 255 && colour !== "cluster" ? grey : ramp ? dom.onRamp(theme.rampRgb, v / 254) : theme.rgb[v % 10], 3 * v);
      }
      const hot = new Set(st.selected);
      for (const row of held.extra["options.highlight"] ?? []) hot.add(row);
      const mark = (row) => (hot.size ? (hot.has(row) ? 2 : 1) : 0);
      const rgba = new Uint8Array(4 * m.g.n), marked = new Uint8Array(m.g.n);
      // Under moving samples a few thousand others are an even ground; more of them stand back where they lie thick.
      const even = m.g.attack && m.g.n <= 10000;
      for (let i = 0; i < m.g.n; i++) {
        const value = values ? values[i] : 255;
        rgba.set(table.subarray(3 * value, 3 * value + 3), 4 * i);
        const missing = ramp && value === 255;
        rgba[4 * i + 3] = m.g.attack && m.g.isPath[i] ? 0 : 255 * (even ? 1 : m.g.density?.[i] ?? 1) * (missing ? 0.5 : 1);
        marked[i] = m.g.attack && m.g.isPath[i] ? 0 : mark(m.g.rows ? m.g.rows[i] : i);
      }
      m.renderer.setBaseLook(rgba, marked);
      if (m.g.attack) {
        const look = new Uint8Array(4 * m.g.m), pathMarks = new Uint8Array(m.g.m);
        for (let j = 0; j < m.g.m; j++) {
          const row = geometry.path_row[j], i = m.g.rowToBase[row], value = colour === "cluster" ? geometry.path_clusters[j] : values && i >= 0 ? values[i] : 255;
          look.set(table.subarray(3 * value, 3 * value + 3), 4 * j);
          look[4 * j + 3] = 255;
          pathMarks[j] = mark(row);
        }
        m.g.marks = pathMarks;
        m.renderer.setPathLook(look, filtered(pathMarks));
      }
      attribute(ui.stage, "aria-label", `Map of ${meta.name ? `${meta.name}: ` : ""}${core.group(meta.n)} samples in ${meta.k} clusters. ${held.parts.alt} Arrow keys go from point to point, Enter pins, Escape clears, plus, minus and 0 zoom.`);
    }

    // Beside another model a part of the samples may be asked for: those that moved here only, there only, in both.
    const leftOut = (j) => {
      if (!m.g.other || st.side === null) return false;
      const { q } = m.now(), here = m.g.smallest[j], there = m.g.other[j];
      return (m.number ? core.sideOf(there, here, q) : core.sideOf(here, there, q)) !== st.side;
    };
    const filtered = (marks) => (st.side === null ? marks : marks.map((mark, j) => (leftOut(j) ? 3 : mark)));
    function filter() {
      if (m.g.attack) m.renderer.setPathMarks(filtered(m.g.marks));
    }

    function look() {
      const { theme, options, dpr } = st, S = m.scale(), grow = Math.max(0.76, Math.min(1, Math.sqrt((st.W * st.H) / 360000))) * Math.min(2.4, st.zoom ** 0.3);
      const x = (2 * S) / st.W, y = (2 * S) / st.H;
      const many = Math.max(0.4, Math.min(1, Math.sqrt(10000 / m.g.n)));
      const isolate = st.isolate >= 0 ? st.isolate : options.highlight_cluster ?? -1;
      const quiet = options.only_moved || st.side !== null ? 0.22 : 1, baseSize = (m.g.attack ? 3.3 : 3.8) * grow * Math.max(0.62, many);
      const full = m.g.attack ? (theme.dark ? 0.34 : 0.3) * (1 + 0.5 * Math.log2(st.zoom)) : theme.dark ? 0.92 : 0.88;
      return {
        camera: [-st.cx * x, -st.cy * y, x, y], ink: theme.ink, ground: theme.ground, dpr, width: st.W, height: st.H, isolate, faded: 0.14,
        baseSize, scale: grow, pathSize: 3.9 * grow, baseAlpha: Math.min(1, core.opacity(full, m.g.n, baseSize, st.W * st.H * st.zoom ** 2) * quiet),
        pathAlpha: theme.dark ? 0.62 : 0.58, box: held.meta.raster, onlyMoved: options.only_moved,
        place: m.place, trails: Math.round(layers.TRAILS / m.panels.length),
        regions: held.meta.raster ? { tint: Number(options.tint), edges: Number(options.edges), trust: Number(options.trust) } : null,
      };
    }

    function moveLabels() {
      for (const { element, at } of m.g.labels) {
        const [x, y] = m.screen(at);
        element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
        element.style.display = st.options.show_labels ? "" : "none";
      }
    }
    function showLabels(moments) {
      const net = m.g.attack && st.strength > 0 && moments.flow;
      for (const { size, full, cluster } of m.g.labels) {
        if (full) text(size, net ? core.signed(moments.flow.net[cluster]) : core.group(held.meta.sizes[cluster]));
      }
    }

    // The pinned sample as the inspector wants it.
    function pinned() {
      const row = st.pin;
      if (row === null) return null;
      const { meta, extra, parts } = held, j = m.g.rowToPath[row], cluster = m.clusterOf(row), moments = m.now();
      const detail = parts.pin?.row === row ? { ...parts.pin } : null;
      if (detail) {
        for (const [name, array] of Object.entries(extra)) if (name.startsWith("pin.")) detail[name.slice(4)] = array;
        if (extra["pin.neighbours"]) detail.neighbours = extra["pin.neighbours"];
      }
      const q = j >= 0 ? m.g.smallest[j] : detail?.searched ? (detail.smallest === null ? 65535 : Math.ceil((detail.smallest / (meta.end || 1)) * core.TOP)) : null;
      // In mode "explore" the detail's own smallest flip counts: it may lie beyond the dial.
      const flip = !m.g.attack && detail?.searched ? detail.smallest : q === null || q > core.TOP ? null : detail?.smallest ?? (q / core.TOP) * meta.end;
      let after = cluster;
      if (m.g.attack && q !== null && q <= moments.q) {
        if (j >= 0) after = held.geometry.path_clusters[moments.later * m.g.m + j];
        else if (extra["pin.clusters"]) after = extra["pin.clusters"][moments.later];
      }
      const beyond = m.g.smallest?.length && q !== null && q <= core.TOP ? m.g.smallest.length - core.countUpTo(m.g.smallest, q) : null;
      const rank = m.g.attack ? beyond : null;
      const waiting = detail ? "" : parts.pin_note || (m.g.attack ? `Computing the path of sample ${row} \u2026` : `Asking the model about sample ${row} \u2026`);
      const label = m.labelName(m.valueOf("label", row));
      return { row, cluster, now: after, flip, rank, label, detail, waiting, inPath: j >= 0, image: detail?.image ? null : tiles.size ? tileIfHeld(row) : null };
    }
    function tileIfHeld(row) {
      const sprites = held.meta.sprites;
      return sprites && tiles.has(Math.floor(row / sprites.per)) ? m.tileOf(row) : null;
    }

    function showPinned() {
      const layer = ui.groups.trail;
      layer.replaceChildren();
      m.knob.setFlip(m.g.attack && st.pin !== null ? pinned().flip : null, m.number);
      if (st.pin === null) return;
      const head = m.unit(st.pin);
      if (!head) return;
      const [x, y] = m.screen(head), hue = m.clusterOf(st.pin) % 10, { k, t } = m.now(), j = m.g.rowToPath[st.pin], own = m.pinPath(st.pin);
      const points = [];
      if (m.g.attack && (j >= 0 || own)) {
        for (let step = 0; step <= k; step++) {
          const p = j >= 0 ? [held.geometry.paths[2 * (step * m.g.m + j)] / 65535, held.geometry.paths[2 * (step * m.g.m + j) + 1] / 65535] : [own[2 * step], own[2 * step + 1]];
          points.push(m.screen(p));
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
    function showRingsHere() {
      for (const [name, row] of [["hover", st.hover], ["focus", st.focus]]) {
        const layer = ui.groups[name], at = row === null ? null : m.unit(row);
        layer.replaceChildren();
        if (!at) continue;
        const [cx, cy] = m.screen(at);
        layer.append(s("circle", { class: "around", cx, cy, r: name === "focus" ? 9 : 6.5 }));
      }
      const layer = ui.groups.probe;
      layer.replaceChildren();
      if (st.probeAt && st.probe !== undefined) {
        const [x, y] = m.screen(st.probeAt);
        const d = `M${x - 7} ${y}h14M${x} ${y - 7}v14`;
        layer.append(s("path", { class: "halo", d }), s("path", { class: "way", d }));
      }
    }

    Object.assign(m, { restyleHere, leftOut, filter, look, moveLabels, showLabels, pinned, showPinned, showRingsHere });
  }

  return { add };
})();
