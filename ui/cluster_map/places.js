// Where things are: rows, map units and pixels, labels, the camera. Adds its functions to a panel `m`.
const places = (() => {
  const { s, text } = dom;
  const MAX_ZOOM = 60;

  function add(m) {
    const { ui, st, held, calm } = m;

    // What the dial says of this panel, until the dial or the data change.
    function now() {
      if (m.moment) return m.moment;
      const { meta, geometry } = held, strength = st.strength;
      if (!m.g.attack) return (m.moment = { strength, k: 0, t: 0, later: 0, q: 0, moved: 0, noise: 0, flow: null });
      const at = core.stepOf(meta.strengths, strength), q = core.threshold(strength, meta.end);
      const moved = core.countUpTo(m.g.smallest, q), noise = geometry.noise ? core.countUpTo(geometry.noise, q) : 0;
      return (m.moment = { strength, ...at, q, moved, noise, flow: core.flow(geometry.path_clusters, m.g.m, m.g.k, moved, at.later) });
    }

    // What the page says of a pinned row that is not among the drawn ones.
    const lone = (row) => (held.parts.lone?.row === row ? held.parts.lone.places[m.number] : null);
    const clusterOf = (row) => {
      const i = m.g.rowToBase[row], j = m.g.rowToPath[row];
      if (i >= 0) return held.geometry.clusters[i];
      if (lone(row)) return lone(row).cluster;
      return j >= 0 && held.geometry.path_clusters ? held.geometry.path_clusters[j] : 0;
    };
    const valueOf = (name, row) => {
      if (name === "label" && lone(row)) return held.parts.lone.label;
      const values = held.geometry[`colour.${name}`], i = m.g.rowToBase[row];
      return values && i >= 0 && values[i] !== 255 ? values[i] : null;
    };
    const labelName = (label) => (label === null ? null : held.meta.names[label] ?? String(label));

    // Where a row is now, in map units; null where it is not drawn.
    function unit(row) {
      const j = m.g.attack ? m.g.rowToPath[row] : -1, { geometry } = held;
      if (j >= 0) {
        const { k, t } = m.now(), a = 2 * (k * m.g.m + j), b = 2 * ((k + 1) * m.g.m + j), p = geometry.paths;
        return [(p[a] + (p[b] - p[a]) * t) / 65535, (p[a + 1] + (p[b + 1] - p[a + 1]) * t) / 65535];
      }
      const own = pinPath(row);
      if (own) {
        const { k, t } = m.now();
        return [own[2 * k] + (own[2 * k + 2] - own[2 * k]) * t, own[2 * k + 1] + (own[2 * k + 3] - own[2 * k + 1]) * t];
      }
      const i = m.g.rowToBase[row], apart = lone(row);
      if (apart) return [apart.x, apart.y];
      return i < 0 ? null : [geometry.xy[2 * i] / 65535, geometry.xy[2 * i + 1] / 65535];
    }
    // The path that came with the pin's detail, for a row outside the drawn paths.
    const pinPath = (row) => (m.g.attack && held.parts.pin?.row === row && m.g.rowToPath[row] < 0 ? held.extra["pin.xy"] : null);

    const scale = () => st.fit * st.zoom;
    const screen = ([x, y]) => [st.W / 2 + (x - st.cx) * scale(), st.H / 2 - (y - st.cy) * scale()];
    const unscreen = (x, y) => [st.cx + (x - st.W / 2) / scale(), st.cy - (y - st.H / 2) / scale()];
    const toMap = ([x, y]) => [held.meta.origin[0] + x * held.meta.origin[2], held.meta.origin[1] + y * held.meta.origin[2]];

    function fit() {
      const [x0, y0, x1, y1] = held.meta.box, narrow = st.W < 480;
      const px = narrow ? 24 : m.panels.length > 1 ? 34 : 44, py = narrow ? 24 : 28;
      st.fit = Math.min((st.W - 2 * px) / Math.max(1e-6, x1 - x0), (st.H - 2 * py) / Math.max(1e-6, y1 - y0));
      placeLabels();
    }
    function placeLabels() {
      const { geometry, meta } = held, whole = { ...st, zoom: 1, cx: (meta.box[0] + meta.box[2]) / 2, cy: (meta.box[1] + meta.box[3]) / 2 };
      const X = (x) => whole.W / 2 + (x / 65535 - whole.cx) * st.fit, Y = (y) => whole.H / 2 - (y / 65535 - whole.cy) * st.fit;
      const xs = new Float32Array(m.g.n), ys = new Float32Array(m.g.n);
      for (let i = 0; i < m.g.n; i++) { xs[i] = X(geometry.xy[2 * i]); ys[i] = Y(geometry.xy[2 * i + 1]); }
      const others = new Float32Array(m.g.attack ? geometry.paths.length : 0);
      for (let i = 0; i < others.length; i += 2) { others[i] = X(geometry.paths[i]); others[i + 1] = Y(geometry.paths[i + 1]); }
      m.g.density = core.density(xs, ys, st.W, st.H);
      const bar = ui.stage.contains(ui.toolbar) ? ui.toolbar.getBoundingClientRect() : { width: 0, height: 0 };
      const placed = core.placeLabels({ xs, ys, clusters: geometry.clusters, k: meta.k, others, width: st.W, height: st.H, taken: [[st.W - bar.width, 0, st.W, bar.height]] });
      ui.groups.labels.replaceChildren();
      m.g.labels = placed.map(({ cluster, x, y, full }) => {
        const size = s("text", { class: "size", y: 15, "text-anchor": "middle" });
        const number = s("text", { class: "number", x: -4, y: -1, text: String(cluster) });
        const element = s(
          "g", { class: "label", "data-cluster": cluster }, s("circle", { cx: -13, cy: -6, r: 4, style: `fill: var(--hue-${cluster % 10}); stroke: var(--edge-${cluster % 10})` }), number, full ? size : null,
        );
        element.onclick = () => m.selectCluster(cluster);
        element.onpointerenter = () => m.setIsolate(cluster);
        element.onpointerleave = () => m.setIsolate(-1);
        ui.groups.labels.append(element);
        return { cluster, element, size, full, at: [whole.cx + (x - st.W / 2) / st.fit, whole.cy - (y - st.H / 2) / st.fit] };
      });
    }

    function setCamera(zoom, cx, cy) {
      const [x0, y0, x1, y1] = held.meta.box, clamp = (v, a, b) => Math.min(Math.max(v, a), b);
      st.zoom = clamp(zoom, 0.7, MAX_ZOOM);
      st.cx = clamp(cx, x0, x1);
      st.cy = clamp(cy, y0, y1);
      ui.card.hidden = true;
      for (const stage of ui.stages) stage.classList.toggle("zoomed", st.zoom > 1.001);
      m.redraw(true, true);
      if (held.parts.control.camera) {
        m.later("camera", 450, () => {
          const whole = Math.abs(st.zoom - 1) < 1e-3;
          m.tell("state", "camera", whole ? [] : [...toMap(unscreen(0, st.H)), ...toMap(unscreen(st.W, 0))]);
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
      if (!st.W) return m.later("zoom", 60, () => flyTo(box));
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
        if (u < 1) m.timers.fly = requestAnimationFrame(step);
      };
      cancelAnimationFrame(m.timers.fly);
      m.timers.fly = requestAnimationFrame(step);
    }

    Object.assign(m, { now, clusterOf, valueOf, labelName, unit, pinPath, scale, screen, unscreen, toMap, fit, setCamera, zoomAt, flyTo });
  }

  return { add };
})();
