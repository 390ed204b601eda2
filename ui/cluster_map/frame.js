// The frame: what is drawn when, in all panels at once; the key below them, and the picture to save. Adds to a mount `m`.
const frame = (() => {
  const { h, s, text, swatch } = dom;

  function add(m) {
    const { ui, st, held, knob, side, root, panels } = m;

    function restyle() {
      if (!held.meta || !st.theme) return;
      for (const panel of panels) panel.restyleHere();
      showKey();
      const note = [st.options.note, m.renderer.name === "canvas2d" ? "No WebGL here: drawn in Canvas2D, plainer and slower." : ""].filter(Boolean);
      const place = panels[0].ui.note;
      place.hidden = !note.length;
      text(place, note.join(" "));
      redraw(true, true);
    }
    function showRings() { for (const panel of panels) panel.showRingsHere(); }

    function showKey() {
      const { meta } = held, { options, theme } = st, items = [];
      const item = (icon, words) => h("span", { class: "item" }, icon, words);
      const icon = (width, ...shapes) => s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true" }, ...shapes);
      const ring = (cx, r, width) => s("circle", { cx, cy: 8, r, class: "ring", "stroke-width": width });
      if (panels[0].g.attack) {
        items.push(item(icon(14, ring(7, 5, 1), s("circle", { cx: 7, cy: 8, r: 2.6, class: "full" })), meta.target === null ? "moved to another cluster" : `moved into cluster ${meta.target}`));
        items.push(item(icon(26, s("path", { d: "M0 8 L26 7.2 L26 8.8 Z", class: "full soft" })), "its path"));
        items.push(item(h("b", { text: "+5" }), "net change of a cluster"));
        items.push(item(icon(26, s("circle", { cx: 5, cy: 8, r: 4, class: "ring ghost" }), s("line", { x1: 9, x2: 14, y1: 8, y2: 8, class: "ring", "stroke-width": 1.75 }), ring(19, 5, 2)), "pinned, and its ghost"));
      } else if (options.colour === "cluster") items.push(item(swatch(0), "colour: cluster"), item(h("b", { text: core.group(Math.max(...meta.sizes)) }), "samples in a cluster"));
      if (options.colour === "label") {
        const count = Math.min(10, Math.max(meta.names.length, 10));
        for (let v = 0; v < count; v++) items.push(item(swatch(v), panels[0].labelName(v)));
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
      const shown = meta.n < meta.total ? `${core.group(meta.n)} of ${core.group(meta.total)} points shown. ` : panels[0].g.attack ? "" : `${core.group(meta.n)} points. `;
      ui.key.replaceChildren(...items, h("span", { class: "item end", text: `${shown}Map distances are distorted.` }));
    }

    function redraw(stillToo, liveToo) {
      m.dirty.still ||= stillToo;
      m.dirty.live ||= liveToo;
      if (!m.raf && panels[0].g && st.W) m.raf = requestAnimationFrame(draw);
    }

    function draw() {
      m.raf = 0;
      if (m.renderer.lost() || !st.options) return;
      const { still } = m.dirty, moments = panels.map((panel) => panel.now());
      if (st.side !== null) for (const panel of panels) panel.filter();
      paint(still, moments);
      panels.forEach((panel, i) => {
        if (still) panel.moveLabels();
        panel.showLabels(moments[i]);
        panel.showPinned();
        panel.showRingsHere();
        panel.showHead?.(moments[i]);
      });
      if (panels[0].g.attack) knob.update(moments);
      side?.update(panels[0].pinned(), moments[0], st.theme);
      if (m.strip && panels[0].g.other) m.strip.update((m.counts = core.joint(panels[0].g.smallest, panels[0].g.other, moments[0].q)));
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
    // All panels of a layer are drawn together: its canvas keeps nothing from the frame before.
    function paint(still, moments) {
      const crowd = Math.max(...moments.map((moment) => moment.moved));
      m.renderer.clear(still);
      panels.forEach((panel, i) => {
        const look = panel.look();
        if (still) panel.renderer.drawStatic(look);
        panel.renderer.drawOverlay({ ...look, ...moments[i], crowd });
      });
    }
    function publish(moments) {
      const d = root.dataset, [{ g, toMap, unscreen }] = panels, [x0, y0] = toMap(unscreen(0, st.H)), [x1, y1] = toMap(unscreen(st.W, 0));
      Object.assign(d, {
        ready: "1", mode: held.meta.mode, points: g.n, paths: g.m, strength: st.strength.toFixed(4), moved: moments[0].moved, noise: moments[0].noise, pin: st.pin ?? "",
        detail: held.parts.pin?.row ?? "", selected: st.selected.size, probe: st.probe === undefined ? "" : st.probe === null ? "waiting" : "answered", zoom: st.zoom.toFixed(3),
        camera: [x0, y0, x1, y1].map((v) => v.toFixed(3)).join(","), colour: st.options.colour, theme: st.theme.dark ? "dark" : "light", frames: m.frames,
      });
      if (m.counts) Object.assign(d, { joint: m.counts.join(","), side: st.side ?? "" });
    }

    // Draws and reads in one task, since the drawing buffers are not kept.
    function savePng() {
      const canvas = h("canvas", { width: ui.still.width, height: ui.still.height }), context = canvas.getContext("2d"), { theme, dpr } = st;
      const css = (c) => `rgb(${c.map((v) => Math.round(v * 255)).join(",")})`, style = getComputedStyle(root);
      context.fillStyle = css(theme.ground);
      context.fillRect(0, 0, canvas.width, canvas.height);
      paint(true, panels.map((panel) => panel.now()));
      context.drawImage(ui.still, 0, 0);
      context.drawImage(ui.live, 0, 0);
      context.lineJoin = "round";
      for (const panel of panels) {
        context.setTransform(dpr, 0, 0, dpr, panel.place[0] * dpr, panel.place[1] * dpr);
        saveMarks(panel, context, css, style.fontFamily);
      }
      canvas.toBlob((blob) => {
        const url = URL.createObjectURL(blob);
        h("a", { href: url, download: "driftmap.png" }).click();
        setTimeout(() => URL.revokeObjectURL(url), 10000);
      });
    }
    // Labels, the panel's name and the pin, which lie above the canvases on the page.
    function saveMarks(panel, context, css, family) {
      if (panel.ui.name) {
        Object.assign(context, { font: `600 13px ${family}`, textAlign: "left", fillStyle: css(st.theme.ink) });
        context.fillText(panel.ui.name.textContent, 0, -12);
      }
      for (const { at, cluster, full, size } of st.options.show_labels ? panel.g.labels : []) {
        const [x, y] = panel.screen(at), words = [[String(cluster), x - 4, y - 1, `600 15px ${family}`, "left"]];
        if (full) words.push([size.textContent, x, y + 15, `400 12px ${family}`, "center"]);
        context.fillStyle = st.theme.hues[cluster % 10];
        context.beginPath();
        context.arc(x - 13, y - 6, 4, 0, 7);
        context.fill();
        for (const [word, wx, wy, font, align] of words) {
          Object.assign(context, { font, textAlign: align, lineWidth: 4, strokeStyle: css(st.theme.ground), fillStyle: css(st.theme.ink) });
          context.strokeText(word, wx, wy);
          context.fillText(word, wx, wy);
        }
      }
      for (const element of panel.ui.groups.trail.children) {
        const computed = getComputedStyle(element);
        const shape = element.tagName === "path" ? new Path2D(element.getAttribute("d")) : new Path2D();
        if (element.tagName === "circle") shape.arc(...["cx", "cy", "r"].map((name) => Number(element.getAttribute(name))), 0, 7);
        if (computed.fill !== "none") { context.fillStyle = computed.fill; context.fill(shape); }
        context.setLineDash(computed.strokeDasharray === "none" ? [] : computed.strokeDasharray.split(",").map(parseFloat));
        if (computed.stroke !== "none") { context.strokeStyle = computed.stroke; context.lineWidth = parseFloat(computed.strokeWidth); context.stroke(shape); }
      }
    }

    Object.assign(m, { restyle, redraw, showRings, savePng });
  }

  return { add };
})();
