// The inspector: what is known of the pinned sample or of a probed spot, and, for an attack, of all moved samples.
const inspector = (() => {
  const { h, s, text, attribute, paint, paintChange, swatch, figure, named } = dom;
  const BINS = 60, MANY = 12; // beyond twelve clusters bars and flow show the largest only

  const head = (title, side) => h("div", { class: "head" }, title, side);
  const section = (testid, ...children) => h("section", { "data-testid": testid }, ...children);

  // Bars of a soft assignment, with a tick for the clean value.
  function bars(testid, title) {
    const side = h("span", { class: "aside" }), list = h("div", { class: "bars", role: "list" });
    const rows = [];
    return {
      root: section(testid, head(h("h4", { text: title }), side), list),
      update(p, clean, hint) {
        text(side, hint);
        let order = p.map((_, c) => c);
        if (p.length > MANY) order = order.sort((a, b) => Math.max(p[b], clean?.[b] ?? 0) - Math.max(p[a], clean?.[a] ?? 0)).slice(0, 10);
        while (rows.length > order.length) rows.pop().root.remove();
        while (rows.length < order.length) {
          const name = h("span", { class: "name" }), bar = h("i", { class: "bar" }), tick = h("i", { class: "tick" }), value = h("span", { class: "value" });
          const root = h("div", { class: "row", role: "listitem" }, name, h("div", { class: "track" }, bar, tick), value);
          list.append(root);
          rows.push({ root, name, bar, tick, value, cluster: -1 });
        }
        order.forEach((c, i) => {
          const row = rows[i];
          if (row.cluster !== c) {
            row.cluster = c;
            named(row.name, c, String(c));
            row.bar.style.setProperty("--hue", `var(--hue-${c % 10})`);
            row.bar.style.setProperty("--edge", `var(--edge-${c % 10})`);
          }
          row.bar.style.width = `${(p[c] * 100).toFixed(2)}%`;
          row.bar.hidden = p[c] < 0.004;
          row.tick.hidden = !clean || clean[c] < 0.02;
          if (clean) row.tick.style.left = `${(clean[c] * 100).toFixed(2)}%`;
          text(row.value, p[c].toFixed(2));
          row.value.classList.toggle("some", p[c] >= 0.005);
        });
      },
    };
  }

  // The histogram of smallest strengths: darker up to the dial, a triangle for the pin.
  function histogram() {
    const chart = s("svg", { class: "histogram", height: 46, "aria-hidden": "true" });
    let counts = null, rects = [], mark = null, width = 0, highest = 1, lit = -1;
    const draw = () => {
      if (!counts || !width) return;
      attribute(chart, "viewBox", `0 0 ${width} 46`);
      chart.replaceChildren();
      lit = -1;
      rects = [...counts].map((count, i) => {
        const tall = count ? Math.max(1, (count / highest) * 33) : 0;
        return s("rect", { x: (i * width) / BINS + 0.5, width: width / BINS - 1, y: 34 - tall, height: tall });
      });
      mark = s("path", { class: "flip" });
      chart.append(s("line", { class: "hair strong", x1: 0, x2: width, y1: 34, y2: 34 }), ...rects, mark);
    };
    return {
      root: chart,
      setup(smallest) {
        counts = core.histogram(smallest, BINS);
        highest = Math.max(1, ...counts);
        draw();
      },
      resize(next) {
        width = next;
        draw();
      },
      update(share, pinShare) {
        if (!rects.length) return;
        const now = Math.round(share * BINS);
        if (now !== lit) {
          rects.forEach((rect, i) => rect.classList.toggle("lit", i < now));
          lit = now;
        }
        const x = pinShare === null ? 0 : pinShare * width;
        attribute(mark, "d", pinShare === null ? "" : `M${x - 4.5} 44 h9 l-4.5 -8 Z`);
      },
    };
  }

  // Cluster -> cluster counts of the moved samples. `on(from, to)` for a click.
  function flowTable(on) {
    const side = h("span", { class: "aside" }), body = h("div", { class: "flow" });
    let k = 0, cells = [], sums = [];
    const setup = (clusters) => {
      k = clusters;
      cells = [];
      sums = [];
      body.replaceChildren();
      if (k > MANY) return;
      const corner = h("span"), top = Array.from({ length: k }, (_, c) => h("span", { class: "top", role: "columnheader" }, swatch(c), String(c)));
      body.style.setProperty("--k", k);
      body.append(corner, ...top, h("span", { class: "top sum", text: "sum" }));
      for (let a = 0; a < k; a++) {
        body.append(h("span", { class: "left", role: "rowheader" }, swatch(a), String(a)));
        for (let b = 0; b < k; b++) {
          const cell = h("button", { type: "button", tabindex: -1, "data-from": a, "data-to": b, onclick: () => on(a, b) });
          if (a === b) cell.textContent = "\u2013";
          cell.disabled = true;
          cells.push(cell);
          body.append(cell);
        }
        sums.push(h("span", { class: "sum" }));
        body.append(sums[a]);
      }
    };
    body.onkeydown = (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: k, ArrowUp: -k }[event.key];
      const at = cells.indexOf(event.target);
      if (by === undefined || at < 0) return;
      event.preventDefault();
      for (let i = at + by; i >= 0 && i < cells.length; i += by) {
        if (!cells[i].disabled) return cells[i].focus();
      }
    };
    return {
      root: section("map-flow", head(h("h4", { text: "Flow, cluster \u2192 cluster" }), side), body),
      setup,
      update({ counts, largest }) {
        text(side, largest ? `largest: ${largest.from} \u2192 ${largest.to}, ${core.group(largest.count)}` : "none moved");
        if (k > MANY) return list(counts);
        let first = true;
        for (let a = 0; a < k; a++) {
          let sum = 0;
          for (let b = 0; b < k; b++) {
            const cell = cells[a * k + b], count = counts[a * k + b];
            if (a === b) continue;
            sum += count;
            if (cell.shown !== count) {
              cell.shown = count;
              cell.textContent = count ? core.group(count) : "";
              cell.disabled = !count;
              if (count) attribute(cell, "aria-label", `${count} from cluster ${a} to ${b}: select`);
            }
            cell.tabIndex = count && first ? 0 : -1;
            if (count) first = false;
            cell.style.setProperty("--share", count ? (count / largest.count).toFixed(3) : 0);
            cell.classList.toggle("largest", Boolean(count) && a === largest.from && b === largest.to);
          }
          text(sums[a], core.group(sum));
        }
      },
    };
    function list(counts) {
      const order = [...counts.keys()].filter((cell) => counts[cell]).sort((a, b) => counts[b] - counts[a]).slice(0, 10);
      body.replaceChildren(...order.map((cell) => {
        const a = Math.floor(cell / k), b = cell % k;
        const words = `${a} \u2192 ${b}`;
        return h("button", { type: "button", class: "line", onclick: () => on(a, b) }, swatch(a), words, swatch(b), h("span", { text: core.group(counts[cell]) }));
      }));
      body.classList.add("list");
    }
  }

  // `on`: flow(from, to), pin(row), unpin(), closeProbe().
  function create(on) {
    const title = h("h4"), aside = h("span", { class: "aside" });
    const unpin = h("button", { type: "button", class: "quiet", text: "Unpin", onclick: () => on.unpin() });
    const images = [figure("clean"), figure("change"), figure("attacked")];
    const triptych = h("div", { class: "triptych", "data-testid": "map-triptych" }, ...images.map((image) => image.root));
    const note = h("p", { class: "note", "data-testid": "map-pin-note" });
    const empty = h("p", { class: "hint" });
    const suggest = h("button", { type: "button", class: "action", "data-testid": "map-suggest" });
    const decoded = decoder.create();
    const sample = section("map-sample", head(title, h("span", { class: "ends" }, aside, unpin)), triptych, decoded.root, note, empty, suggest);
    const soft = bars("map-bars", "Soft assignment");
    const big = h("b", { class: "big" }), words = h("span", { class: "words" }), chart = histogram();
    const smallestTitle = h("h4");
    const smallest = section("map-smallest", head(smallestTitle), h("div", { class: "figure" }, big, words), chart.root);
    const flow = flowTable(on.flow);
    const thumbs = h("div", { class: "thumbs" }), thumbsNote = h("p", { class: "note" }), thumbsSide = h("span", { class: "aside" });
    const neighbours = section("map-neighbours", head(h("h4", { text: "Nearest in the embedding" }), thumbsSide), thumbs, thumbsNote);
    const probeSide = h("span", { class: "aside" }), probeImage = figure("decoded here"), probeNote = h("p", { class: "note" });
    const probeBars = bars("map-probe-bars", "Soft assignment there");
    const close = h("button", { type: "button", class: "quiet", text: "Close", onclick: () => on.closeProbe() });
    const probeFigure = h("div", { class: "triptych" }, probeImage.root);
    const probe = section("map-probe", head(h("h4", { text: "This spot on the map" }), h("span", { class: "ends" }, probeSide, close)), probeFigure, probeNote, probeBars.root);
    const root = h("aside", { class: "inspector", "data-testid": "map-inspector", "aria-label": "Inspector" }, probe, sample, soft.root, neighbours, smallest, flow.root);
    for (const part of [probe, neighbours]) part.hidden = true;
    let view = null, drawn = null;

    const bytes = (array) => (i) => array[i];

    // The pinned sample at the dialled strength. `pin`: {row, cluster, now, flip, label, detail, waiting, image}.
    function showPin(pin, now, theme) {
      const attack = view.mode === "attack";
      const nothing = !pin;
      unpin.hidden = nothing;
      // an attack on the embedding has no image but the decoded one
      triptych.hidden = nothing || (pin.detail?.decoded && !pin.detail.change);
      decoded.root.hidden = true;
      empty.hidden = !nothing;
      suggest.hidden = !nothing || !view.suggestion;
      soft.root.hidden = nothing || !pin.detail?.p;
      neighbours.hidden = nothing || attack || !pin.detail?.neighbours;
      if (nothing) {
        drawn = null;
        text(title, "No sample pinned");
        text(aside, "");
        note.hidden = true;
        text(empty, "Click a point to pin it. By keyboard: focus the map, go from point to point with the arrow keys, press Enter.");
        if (view.suggestion) {
          const { row, strength } = view.suggestion;
          text(suggest, `Pin the most fragile: sample ${row}, ${core.fine(strength)}`);
          suggest.onclick = () => on.pin(row);
        }
        return;
      }
      text(title, `Sample ${pin.row}`);
      text(aside, pin.now === pin.cluster ? `cluster ${pin.cluster}` : `cluster ${pin.cluster} \u2192 ${pin.now}`);
      const { detail } = pin;
      const lines = [pin.waiting, detail?.note].filter(Boolean);
      note.hidden = !lines.length;
      text(note, lines.join(" "));
      note.classList.toggle("busy", Boolean(pin.waiting));
      showImages(pin, now, theme);
      if (!detail) return;
      if (detail.p) {
        const k = view.k, at = (step, c) => detail.p[step * k + c];
        const clean = Array.from({ length: k }, (_, c) => at(0, c));
        const p = attack ? clean.map((v, c) => at(now.k, c) + (at(now.k + 1, c) - at(now.k, c)) * now.t) : clean;
        soft.update(p, attack ? clean : null, attack ? "tick: clean" : "");
        if (attack) decoded.update(pin, now, theme, p, clean);
        if (attack) {
          named(images[0].below, pin.cluster, `${pin.cluster}, ${clean[pin.cluster].toFixed(2)}`);
          named(images[2].below, pin.now, `${pin.now}, ${p[pin.now].toFixed(2)}`);
        } else named(images[0].below, pin.cluster, `${pin.cluster}, ${clean[pin.cluster].toFixed(2)}`);
      }
      if (!attack) showNeighbours(detail);
    }

    function showImages(pin, now, theme) {
      const { detail } = pin, attack = view.mode === "attack";
      const [clean, change, attacked] = images;
      const shape = detail?.image?.shape;
      const name = `${pin.row} ${Boolean(detail)} ${Boolean(pin.image)} ${theme.dark}`;
      if (drawn !== name) {
        drawn = name;
        for (const { canvas, below } of images) {
          canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
          below.replaceChildren();
        }
        if (shape) paint(clean.canvas, shape, bytes(detail.image));
        else if (pin.image) {
          clean.canvas.width = pin.image.w;
          clean.canvas.height = pin.image.h;
          clean.canvas.getContext("2d").drawImage(pin.image.bitmap, pin.image.x, pin.image.y, pin.image.w, pin.image.h, 0, 0, pin.image.w, pin.image.h);
        }
        if (!detail?.p) named(clean.below, pin.cluster, String(pin.cluster));
        if (!attack && detail?.reconstruction) paint(change.canvas, detail.reconstruction.shape, bytes(detail.reconstruction));
      }
      text(clean.title, attack ? "clean" : "image");
      text(change.title, attack ? "change" : "reconstruction");
      change.root.hidden = !attack && !detail?.reconstruction;
      attacked.root.hidden = !attack;
      const open = attack && detail && !detail.change;
      triptych.classList.toggle("alone", Boolean(open));
      if (open) change.root.hidden = attacked.root.hidden = true;
      if (!attack) {
        if (pin.label !== null) text(change.root.hidden ? clean.title : clean.title, `label ${pin.label}`);
        return;
      }
      if (!detail?.change) return;
      const size = shape.reduce((a, b) => a * b, 1), { k, t } = now;
      const delta = core.changeAt(detail.change, detail.scale, size, now);
      let scale = now.strength;
      if (view.norm !== "linf") {
        scale = 0;
        for (let i = 0; i < size; i++) scale = Math.max(scale, Math.abs(delta(i)));
      }
      paintChange(change.canvas, shape, delta, scale, theme);
      paint(attacked.canvas, shape, (i) => detail.image[i] + delta(i) * 255);
      if (detail.l2) text(change.below, `L2 ${(detail.l2[k] + (detail.l2[k + 1] - detail.l2[k]) * t).toFixed(2)}`);
    }

    let shownNeighbours = null;
    function showNeighbours(detail) {
      if (shownNeighbours === detail || !detail.neighbours) return;
      shownNeighbours = detail;
      const pictures = detail.neighbour_images, far = [...detail.neighbours].filter((_, i) => detail.near && !detail.near[i]).length;
      thumbs.replaceChildren(...[...detail.neighbours].map((row, i) => {
        const canvas = h("canvas", { width: 1, height: 1, "aria-hidden": "true" });
        if (pictures) {
          const [, ...shape] = pictures.shape, size = shape.reduce((a, b) => a * b, 1);
          paint(canvas, shape, (j) => pictures[i * size + j]);
        }
        const away = detail.near && !detail.near[i];
        const cluster = view.clusterOf(row);
        return h(
          "button", { type: "button", class: away ? "away" : "", onclick: () => on.pin(row), "aria-label": `Pin sample ${row}, cluster ${cluster}${away ? ", not near on the map" : ""}`, title: `Sample ${row}` },
          canvas, h("span", { class: "sub" }, swatch(cluster), String(cluster), away ? " \u2197" : ""),
        );
      }));
      text(thumbsSide, `${detail.neighbours.length} samples`);
      thumbsNote.hidden = !far;
      text(thumbsNote, `${far} of ${detail.neighbours.length} (\u2197) lie elsewhere on the map: near in the embedding is not always near in the picture.`);
    }

    function showSmallest(pin, now) {
      const attack = view.mode === "attack", detail = pin?.detail;
      smallest.hidden = !view.hasPath && !detail?.searched;
      chart.root.style.display = view.hasPath ? "" : "none";
      const found = pin && pin.flip !== null;
      text(smallestTitle, attack ? (view.target === null ? "Smallest strength found" : `Smallest strength into cluster ${view.target}`) : "Smallest flip");
      if (found) {
        text(big, core.fine(pin.flip));
        const more = pin.rank === null ? "" : ` ${rankWords(pin.rank)}`;
        text(words, `${attack ? (view.target === null ? "moved it." : "pushed it there.") : `${detail?.smallest_note || view.attack} moved it.`}${more}`);
      } else {
        const end = core.brief(view.end);
        let sentence = `Median ${view.median === null ? `above ${end}` : core.fine(view.median)} over ${core.group(view.paths)} samples, ${[view.attack, view.unit].filter(Boolean).join(", ")}.`;
        if (pin && (pin.inPath || detail?.searched)) {
          sentence = view.target === null || !attack ? `No strength up to ${end} moved it.` : `No strength up to ${end} pushed this sample into cluster ${view.target}.`;
          if (attack && view.target !== null && detail?.p) {
            const other = nearestOther(detail.p, pin.cluster, view.target);
            if (other !== null) sentence += ` Try another target: nearest is cluster ${other}.`;
          }
        } else if (pin) sentence = attack ? "No path for this sample yet." : "Not computed for this sample.";
        text(words, sentence);
      }
      big.hidden = !found;
      if (view.hasPath) chart.update(attack ? now.strength / view.end : 0, found && pin.flip <= view.end ? pin.flip / view.end : null);
    }
    // `rank`: how many of the path's samples need more strength.
    function rankWords(rank) {
      const n = view.paths, of = `the ${core.group(n)} samples`, part = Math.min(99, Math.round((100 * rank) / n));
      if (rank >= n - 1) return `It is the most fragile of ${of}.`;
      return part >= 50 ? `It is more fragile than ${part} % of ${of}.` : `It is less fragile than ${Math.min(99, 100 - part)} % of ${of}.`;
    }
    function nearestOther(p, own, target) {
      let best = null;
      for (let c = 0; c < view.k; c++) if (c !== own && c !== target && (best === null || p[c] > p[best])) best = c;
      return best;
    }

    return {
      root,
      // view: {mode, k, paths, end, target, norm, space, attack, hasPath, median, suggestion, smallest, clusterOf}
      setup(next) {
        view = next;
        drawn = shownNeighbours = null;
        flow.root.hidden = view.mode !== "attack" || !view.hasPath;
        if (view.hasPath) chart.setup(view.smallest);
        if (!flow.root.hidden) flow.setup(view.k);
      },
      smallest,
      // The smallest strengths stand in their place, or at the end of another column.
      lodge(column) {
        if (column) column.append(smallest);
        else root.insertBefore(smallest, flow.root);
      },
      resize() { chart.resize(smallest.clientWidth || root.clientWidth); },
      redraw() { drawn = shownNeighbours = null; },
      update(pin, now, theme) {
        if (probe.hidden) showPin(pin, now, theme);
        showSmallest(pin, now);
        if (!flow.root.hidden) flow.update(now.flow);
      },
      // answer: {p, image, trusted, note} or null while it is awaited; undefined closes the panel.
      showProbe(answer) {
        probe.hidden = answer === undefined;
        for (const part of [sample, soft.root, neighbours, smallest]) part.style.display = answer === undefined ? "" : "none";
        if (answer === undefined) return;
        const waiting = answer === null;
        probeBars.root.hidden = waiting;
        probeFigure.hidden = waiting || !answer.image;
        const lines = waiting ? ["Asking the model \u2026"] : [answer.trusted ? "" : "The picture is unreliable here.", answer.note].filter(Boolean);
        probeNote.hidden = !lines.length;
        probeNote.classList.toggle("busy", waiting);
        probeNote.classList.toggle("warn", !waiting && !answer.trusted);
        text(probeNote, lines.join(" "));
        if (waiting) return text(probeSide, "");
        const best = answer.p.reduce((at, v, c) => (v > answer.p[at] ? c : at), 0);
        text(probeSide, `cluster ${best}`);
        if (answer.image) {
          paint(probeImage.canvas, answer.image.shape, bytes(answer.image));
          named(probeImage.below, best, `${best}, ${answer.p[best].toFixed(2)}`);
        }
        probeBars.update([...answer.p], null, "");
      },
    };
  }

  return { create };
})();
