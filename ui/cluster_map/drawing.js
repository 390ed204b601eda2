// What is drawn when: colours and marks, the frame, labels, pin, key, and the picture to save. Adds to a mount `m`.
const drawing = (() => {
  const { h, s, text, attribute, swatch } = dom;

  function add(m) {
    const { ui, st, held, tiles, knob, side, root } = m;

    function restyle() {
      if (!held.meta || !st.theme) return;
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
      for (let i = 0; i < m.g.n; i++) {
        const value = values ? values[i] : 255;
        rgba.set(table.subarray(3 * value, 3 * value + 3), 4 * i);
        const missing = ramp && value === 255;
        rgba[4 * i + 3] = m.g.attack && m.g.isPath[i] ? 0 : (m.g.attack ? 255 : 255 * (m.g.density?.[i] ?? 1)) * (missing ? 0.5 : 1);
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
        m.renderer.setPathLook(look, pathMarks);
      }
      showKey();
      const note = [options.note, m.renderer.name === "canvas2d" ? "No WebGL here: drawn in Canvas2D, plainer and slower." : ""].filter(Boolean);
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
      if (m.g.attack) {
        items.push(item(icon(14, ring(7, 5, 1), s("circle", { cx: 7, cy: 8, r: 2.6, class: "full" })), meta.target === null ? "moved to another cluster" : `moved into cluster ${meta.target}`));
        items.push(item(icon(26, s("path", { d: "M0 8 L26 7.2 L26 8.8 Z", class: "full soft" })), "its path"));
        items.push(item(h("b", { text: "+5" }), "net change of a cluster"));
        items.push(item(icon(26, s("circle", { cx: 5, cy: 8, r: 4, class: "ring ghost" }), s("line", { x1: 9, x2: 14, y1: 8, y2: 8, class: "ring", "stroke-width": 1.75 }), ring(19, 5, 2)), "pinned, and its ghost"));
      } else if (options.colour === "cluster") items.push(item(swatch(0), "colour: cluster"), item(h("b", { text: core.group(Math.max(...meta.sizes)) }), "samples in a cluster"));
      if (options.colour === "label") {
        const count = Math.min(10, Math.max(meta.names.length, 10));
        for (let v = 0; v < count; v++) items.push(item(swatch(v), m.labelName(v)));
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
      const shown = meta.n < meta.total ? `${core.group(meta.n)} of ${core.group(meta.total)} points shown. ` : m.g.attack ? "" : `${core.group(meta.n)} points. `;
      ui.key.replaceChildren(...items, h("span", { class: "item end", text: `${shown}Map distances are distorted.` }));
    }

    function redraw(stillToo, liveToo) {
      m.dirty.still ||= stillToo;
      m.dirty.live ||= liveToo;
      if (!m.raf && m.g && st.W) m.raf = requestAnimationFrame(frame);
    }
    function look() {
      const { theme, options, dpr } = st, S = m.scale(), grow = Math.max(0.76, Math.min(1, Math.sqrt((st.W * st.H) / 360000))) * Math.min(2.4, st.zoom ** 0.3);
      const x = (2 * S) / st.W, y = (2 * S) / st.H;
      const many = Math.max(0.4, Math.min(1, Math.sqrt(10000 / m.g.n)));
      const isolate = st.isolate >= 0 ? st.isolate : options.highlight_cluster ?? -1;
      const quiet = options.only_moved ? 0.22 : 1;
      return {
        camera: [-st.cx * x, -st.cy * y, x, y], ink: theme.ink, ground: theme.ground, dpr, width: st.W, height: st.H, isolate, faded: 0.14,
        baseSize: (m.g.attack ? 3.3 : 3.8) * grow * (many < 1 ? Math.max(0.62, many) : 1), scale: grow, pathSize: 3.9 * grow,
        baseAlpha: Math.min(1, (m.g.attack ? (theme.dark ? 0.34 : 0.3) * Math.max(0.55, many) : theme.dark ? 0.92 : 0.88) * quiet * (m.g.attack ? 1 + 0.5 * Math.log2(st.zoom) : 1)),
        pathAlpha: theme.dark ? 0.62 : 0.58, box: held.meta.raster, onlyMoved: options.only_moved,
        regions: held.meta.raster ? { tint: Number(options.tint), edges: Number(options.edges), trust: Number(options.trust) } : null,
      };
    }
    function frame() {
      m.raf = 0;
      if (m.renderer.lost() || !st.options) return;
      const values = look(), moments = m.now();
      if (m.dirty.still) m.renderer.drawStatic(values);
      if (m.dirty.live || m.dirty.still) m.renderer.drawOverlay({ ...values, ...moments });
      if (m.dirty.still) moveLabels();
      if (m.dirty.live || m.dirty.still) {
        showLabels(moments);
        showPinned();
        showRings();
        if (m.g.attack) knob.update(moments);
        side.update(pinned(), moments, st.theme);
      }
      m.dirty = { still: false, live: false };
      m.frames++;
      if (root.dataset.measure) {
        m.renderer.finish();
        const end = performance.now();
        if (m.lastFrame) m.intervals.push(end - m.lastFrame);
        m.lastFrame = st.moving ? end : 0;
      }
      publish(moments);
    }
    function publish(moments) {
      const d = root.dataset, [x0, y0] = m.toMap(m.unscreen(0, st.H)), [x1, y1] = m.toMap(m.unscreen(st.W, 0));
      Object.assign(d, {
        ready: "1", mode: held.meta.mode, points: m.g.n, paths: m.g.m, strength: st.strength.toFixed(4), moved: moments.moved, noise: moments.noise, pin: st.pin ?? "",
        detail: held.parts.pin?.row ?? "", selected: st.selected.size, probe: st.probe === undefined ? "" : st.probe === null ? "waiting" : "answered", zoom: st.zoom.toFixed(3),
        camera: [x0, y0, x1, y1].map((v) => v.toFixed(3)).join(","), colour: st.options.colour, theme: st.theme.dark ? "dark" : "light", frames: m.frames,
      });
    }

    function moveLabels() {
      for (const { element, at, cluster } of m.g.labels) {
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
      knob.setFlip(m.g.attack && st.pin !== null ? pinned().flip : null);
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
    function showRings() {
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

    // Draws and reads in one task, since the drawing buffers are not kept.
    function savePng() {
      const canvas = h("canvas", { width: ui.still.width, height: ui.still.height }), context = canvas.getContext("2d"), { theme, dpr } = st;
      const css = (c) => `rgb(${c.map((v) => Math.round(v * 255)).join(",")})`, style = getComputedStyle(ui.stage);
      context.fillStyle = css(theme.ground);
      context.fillRect(0, 0, canvas.width, canvas.height);
      const values = look();
      m.renderer.drawStatic(values);
      context.drawImage(ui.still, 0, 0);
      m.renderer.drawOverlay({ ...values, ...m.now() });
      context.drawImage(ui.live, 0, 0);
      context.scale(dpr, dpr);
      context.lineJoin = "round";
      for (const { at, cluster, full, size } of st.options.show_labels ? m.g.labels : []) {
        const [x, y] = m.screen(at), words = [[String(cluster), x - 4, y - 1, `600 15px ${style.fontFamily}`, "left"]];
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

    Object.assign(m, { restyle, redraw, showRings, savePng });
  }

  return { add };
})();
