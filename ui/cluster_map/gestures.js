// Pointer, wheel and keyboard; hover, pin, probe and selection. Adds to a panel `m`.
const gestures = (() => {
  const { h, s, text, attribute, swatch } = dom;
  const REACH = 14, DWELL = 125, IDS = 2000;

  function add(m) {
    const { ui, st, held, knob, side } = m;

    function pick(x, y) {
      const [ux, uy] = m.unscreen(x, y), reach = (REACH / m.scale()) * 65535;
      let best = -1, least = REACH;
      if (!st.options.only_moved) {
        const found = core.nearest(m.g.index, ux * 65535, uy * 65535, reach);
        if (found.at >= 0) { best = m.g.rows ? m.g.rows[found.at] : found.at; least = (found.distance / 65535) * m.scale(); }
      }
      if (m.g.attack) {
        const { k, t, moved } = m.now(), p = held.geometry.paths, S = m.scale(), last = st.options.only_moved ? moved : m.g.m;
        for (let j = 0; j < last; j++) {
          if (m.leftOut(j)) continue;
          const a = 2 * (k * m.g.m + j), b = 2 * ((k + 1) * m.g.m + j);
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
      clearTimeout(m.timers.card);
      ui.stage.style.cursor = row !== null ? "pointer" : "";
      m.showRings();
      if (row !== null) m.later("card", DWELL, () => showCard());
    }
    function showCard(row = st.hover) {
      const at = row === null || st.moving ? null : m.unit(row);
      if (!at) { ui.card.hidden = true; return; }
      const cluster = m.clusterOf(row), label = m.labelName(m.valueOf("label", row)), confidence = m.valueOf("confidence", row), j = m.g.rowToPath[row];
      const picture = m.tileOf(row), canvas = held.meta.sprites ? h("canvas", { width: held.meta.sprites.w, height: held.meta.sprites.h, "aria-hidden": "true" }) : null;
      if (picture) canvas.getContext("2d").drawImage(picture.bitmap, picture.x, picture.y, picture.w, picture.h, 0, 0, picture.w, picture.h);
      const line = (words) => h("span", { text: words });
      const lines = h("div", {}, h("b", { text: `Sample ${row}` }), h("span", {}, swatch(cluster), `cluster ${cluster}`));
      if (label !== null) lines.append(line(`label ${label}`));
      if (confidence !== null) lines.append(line(`confidence ${(confidence / 254).toFixed(2)}`));
      if (j >= 0) lines.append(line(m.g.smallest[j] > core.TOP ? `unmoved up to ${core.brief(held.meta.end)}` : `moves at ${core.fine((m.g.smallest[j] / core.TOP) * held.meta.end)}`));
      ui.card.replaceChildren(...(canvas ? [canvas] : []), lines);
      ui.card.hidden = false;
      ui.card.dataset.row = row;
      const [x, y] = m.screen(at), box = ui.card.getBoundingClientRect();
      const flip = x + 16 + box.width > st.W;
      ui.card.style.left = `${Math.max(0, flip ? x - 14 - box.width : x + 14)}px`;
      ui.card.style.top = `${Math.max(0, Math.min(st.H - box.height, y - box.height / 2))}px`;
    }
    function setPin(row) {
      st.pin = row;
      closeProbe();
      knob.stop();
      m.say(row === null ? "Pin removed." : `Sample ${row} pinned, cluster ${m.clusterOf(row)}.`);
      m.tell("trigger", "pin", { row });
      m.redraw(false, true);
    }
    function closeProbe() {
      st.probe = undefined;
      st.probeAt = null;
      side?.showProbe(undefined);
      m.redraw(false, true);
    }
    function askProbe(x, y) {
      st.probeAt = m.unscreen(x, y);
      st.probe = null;
      side?.showProbe(null);
      m.tell("trigger", "probe", m.toMap(st.probeAt));
      m.redraw(false, true);
    }

    function select(rows, by, rest) {
      st.selected = new Set(rows);
      st.serial = (st.serial ?? 0) + 1;
      const few = rows.length <= IDS || st.side !== null ? { rows } : rest;
      m.say(rows.length ? `${core.group(rows.length)} samples selected.` : "Selection cleared.");
      m.tell("state", "selection", { by, serial: st.serial, strength: st.strength, count: rows.length, panel: m.number, ...few });
      m.restyle();
    }
    function drawnRows(test) {
      const rows = [], { geometry } = held;
      if (!st.options.only_moved) {
        for (let i = 0; i < m.g.n; i++) {
          if (!(m.g.attack && m.g.isPath[i]) && test(geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535)) rows.push(m.g.rows ? m.g.rows[i] : i);
        }
      }
      const last = m.g.attack ? (st.options.only_moved ? m.now().moved : m.g.m) : 0;
      for (let j = 0; j < last; j++) {
        const row = geometry.path_row[j];
        if (!m.leftOut(j) && test(...m.unit(row))) rows.push(row);
      }
      return rows.sort((a, b) => a - b);
    }
    function selectArea(points, by) {
      const polygon = points.map(([x, y]) => m.unscreen(x, y));
      const xs = polygon.map((p) => p[0]), ys = polygon.map((p) => p[1]);
      const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      const rows = drawnRows((x, y) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3] && core.insidePolygon(polygon, x, y));
      select(rows, by, { polygon: polygon.map(m.toMap), only_moved: st.options.only_moved });
    }
    function selectCluster(cluster) {
      const rows = [];
      for (let i = 0; i < m.g.n; i++) if (held.geometry.clusters[i] === cluster) rows.push(m.g.rows ? m.g.rows[i] : i);
      select(rows, `cluster ${cluster}`, { cluster });
    }
    function selectFlow(from, to) {
      const { moved, later: step } = m.now(), clusters = held.geometry.path_clusters, rows = [];
      for (let j = 0; j < moved; j++) {
        if (clusters[j] === from && clusters[step * m.g.m + j] === to) rows.push(held.geometry.path_row[j]);
      }
      select(rows.sort((a, b) => a - b), `flow ${from} -> ${to}, strength ${st.strength.toFixed(3)}`, { flow: [from, to] });
    }
    function setIsolate(cluster) {
      if (st.isolate === cluster) return;
      st.isolate = cluster;
      m.redraw(true, true);
    }

    const pointers = new Map();
    let gesture = null, lastPick = 0, wheelElsewhere = 0;
    const local = (event) => {
      const box = ui.stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const onStage = (event) => event.target === ui.stage || event.target === ui.live || event.target === ui.still || ui.marks.contains(event.target);
    ui.stage.onpointerdown = (event) => {
      if (!m.g || event.button > 0 || !onStage(event) || event.target.closest?.(".label")) return;
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
      if (!m.g) return;
      const [x, y] = local(event);
      if (!gesture) {
        const time = performance.now();
        const look_ = () => { lastPick = performance.now(); if (!gesture && !st.moving) hoverAt(x, y); };
        if (time - lastPick >= 50) look_(); else m.later("pick", 50 - (time - lastPick), look_);
        return;
      }
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, [x, y]);
      if (gesture.kind === "pinch") {
        const [a, b] = [...pointers.values()], distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
        m.zoomAt(distance / Math.max(1, gesture.distance), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        gesture.distance = distance;
        return;
      }
      if (!gesture.moved && Math.hypot(x - gesture.start[0], y - gesture.start[1]) < 4) return;
      gesture.moved = true;
      if (st.hover !== null) { st.hover = null; ui.card.hidden = true; m.showRings(); }
      if (gesture.kind === "pan") {
        m.setCamera(st.zoom, st.cx - (x - before[0]) / m.scale(), st.cy + (y - before[1]) / m.scale());
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
      if (!done || done.kind === "pinch" || !m.g) return;
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
      clearTimeout(m.timers.pick);
      clearTimeout(m.timers.card);
      if (st.hover === null) return;
      st.hover = null;
      ui.card.hidden = true;
      m.showRings();
    };
    // A page scrolled past the map must not zoom it: a wheel that began elsewhere goes on scrolling.
    const elsewhere = (event) => { if (!event.composedPath().includes(ui.stage)) wheelElsewhere = performance.now(); };
    window.addEventListener("wheel", elsewhere, { passive: true });
    ui.stage.onwheel = (event) => {
      if (!m.g) return;
      if (performance.now() - wheelElsewhere < 250) { wheelElsewhere = performance.now(); return; }
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      m.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...local(event));
    };
    ui.stage.onkeydown = (event) => {
      if (!m.g || event.target !== ui.stage || event.ctrlKey || event.metaKey || event.altKey) return;
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (arrow) walk(...arrow);
      else if (event.key === "Enter" && st.focus !== null) setPin(st.focus);
      else if (event.key === "+" || event.key === "=") m.zoomAt(1.4);
      else if (event.key === "-") m.zoomAt(1 / 1.4);
      else if (event.key === "0") m.flyTo(null);
      else if (event.key === "Escape") clear();
      else return;
      event.preventDefault();
    };
    ui.stage.onblur = () => {
      st.focus = null;
      if (m.g) m.showRings();
      if (st.hover === null) ui.card.hidden = true;
    };
    function clear() {
      if (gesture) { gesture = null; ui.groups.gesture.replaceChildren(); }
      else if (st.probe !== undefined) closeProbe();
      else if (st.selected.size) select([], "", {});
      else if (st.focus !== null) { st.focus = null; ui.card.hidden = true; m.showRings(); }
      else if (st.pin !== null) setPin(null);
    }
    function* everyPoint() {
      const { geometry } = held;
      if (!st.options.only_moved) {
        for (let i = 0; i < m.g.n; i++) {
          if (!(m.g.attack && m.g.isPath[i])) yield [m.g.rows ? m.g.rows[i] : i, ...m.screen([geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535])];
        }
      }
      const last = m.g.attack ? (st.options.only_moved ? m.now().moved : m.g.m) : 0;
      for (let j = 0; j < last; j++) if (!m.leftOut(j)) yield [geometry.path_row[j], ...m.screen(m.unit(geometry.path_row[j]))];
    }
    function walk(dx, dy) {
      const from = st.focus ?? st.pin;
      let row;
      if (from === null || !m.unit(from)) row = nearestTo(st.W / 2, st.H / 2);
      else row = core.towards(everyPoint(), ...m.screen(m.unit(from)), dx, dy);
      if (row === null || row === undefined) return;
      st.focus = row;
      const [x, y] = m.screen(m.unit(row));
      if (x < 20 || y < 20 || x > st.W - 20 || y > st.H - 20) m.setCamera(st.zoom, ...m.unit(row));
      m.showRings();
      showCard(row);
      m.say(`Sample ${row}, cluster ${m.clusterOf(row)}.`);
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
      for (const stage of ui.stages) stage.dataset.tool = name;
    }
    for (const name of ["pan", "box", "lasso"]) ui.tools[name].onclick = () => setTool(name);
    setTool("pan");
    ui.tools.in.onclick = () => m.g && m.zoomAt(1.5);
    ui.tools.out.onclick = () => m.g && m.zoomAt(1 / 1.5);
    ui.tools.fit.onclick = () => m.g && m.flyTo(null);
    ui.tools.png.onclick = () => m.g && m.savePng();

    Object.assign(m, { showCard, setPin, closeProbe, selectCluster, selectFlow, setIsolate, elsewhere });
  }

  return { add };
})();
