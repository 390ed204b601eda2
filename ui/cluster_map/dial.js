// The dial: the read-out in words, the moved-share curve with the noise control, play, and a real range input below it
// on the same x axis.
const dial = (() => {
  const { h, s, text, attribute } = dom;
  const LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 82, HEIGHT = 100, STEPS = 200;

  // `on.move(strength)` while dragging, `on.release(strength)` once at the end of a gesture.
  function create(on) {
    const number = () => h("b", { class: "number" });
    const strengthNumber = number(), movedNumber = number(), secondNumber = number(), noiseNumber = number();
    const strengthWords = h("span"), movedWords = h("span"), secondWords = h("span"), noiseWords = h("span");
    const secondPart = h("span", { class: "part" }, secondNumber, secondWords);
    const noisePart = h("span", { class: "part" }, noiseNumber, noiseWords);
    const readout = h(
      "p", { class: "readout", "data-testid": "map-readout" },
      h("span", { class: "part" }, strengthNumber, strengthWords),
      h("span", { class: "part" }, movedNumber, movedWords), secondPart, noisePart,
    );
    const chart = s("svg", { class: "curve", "data-testid": "map-curve", height: HEIGHT, "aria-hidden": "true" });
    const input = h("input", {
      type: "range", min: 0, max: STEPS, step: "any", value: 0, "data-testid": "map-dial", "aria-label": "Attack strength",
    });
    const icon = s("svg", { viewBox: "0 0 28 28", width: 28, height: 28, "aria-hidden": "true" }, s("path"));
    const play = h("button", { type: "button", class: "play", "data-testid": "map-play", "aria-label": "Play" }, icon);
    const root = h("div", { class: "dial" }, readout, chart, h("div", { class: "control" }, play, input));
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

    let view = null, width = 0, strength = 0, pinFlips = [null, null], playing = 0, keyTimer = 0, parts = {};
    const x = (value) => LEFT + (value / view.end) * (width - LEFT - RIGHT);
    const y = (value) => BOTTOM - value * (BOTTOM - TOP);
    const shareAt = (sorted, value) => core.countUpTo(sorted, core.threshold(value, view.end)) / sorted.length;

    function draw() {
      chart.replaceChildren();
      attribute(chart, "width", width);
      attribute(chart, "viewBox", `0 0 ${width} ${HEIGHT}`);
      const line = (y1, name) => s("line", { x1: LEFT, x2: width - RIGHT, y1, y2: y1, class: name });
      const label = (at, y0, anchor, name, words) => s("text", { x: at, y: y0, "text-anchor": anchor, class: name, text: words });
      chart.append(line(y(1), "hair"), line(y(0.5), "hair"), line(y(0), "hair strong"));
      chart.append(label(LEFT - 8, y(1) + 4, "end", "tick", "100 %"), label(LEFT - 8, y(0.5) + 4, "end", "tick", "50"), label(LEFT - 8, y(0) + 4, "end", "tick", "0"));
      for (const { value, text: words } of core.ticks(view.end, width < 480 ? 4 : 8)) {
        chart.append(label(x(value), HEIGHT - 3, "middle", "tick", words));
      }
      for (const value of view.strengths) {
        chart.append(s("line", { x1: x(value), x2: x(value), y1: BOTTOM, y2: BOTTOM + 3, class: "step" }));
      }
      const curve = (sorted) => {
        const points = [];
        for (let px = 0; px <= width - LEFT - RIGHT; px += 1.5) {
          const value = Math.min(view.end, (px / (width - LEFT - RIGHT)) * view.end);
          points.push(`${(LEFT + px).toFixed(1)} ${y(shareAt(sorted, value)).toFixed(1)}`);
        }
        points.push(`${width - RIGHT} ${y(shareAt(sorted, view.end)).toFixed(1)}`);
        return points.join(" L");
      };
      const path = curve(view.smallest), last = shareAt(view.smallest, view.end);
      chart.append(s("path", { class: "area", d: `M${LEFT} ${BOTTOM} L${path} L${width - RIGHT} ${BOTTOM} Z` }));
      if (view.noise) chart.append(s("path", { class: "noise", d: `M${curve(view.noise)}` }));
      chart.append(s("path", { class: "line", d: `M${path}` }));
      if (view.second?.noise) chart.append(s("path", { class: "noise", d: `M${curve(view.second.noise)}` }));
      if (view.second) chart.append(s("path", { class: "line second", d: `M${curve(view.second.smallest)}` }));
      // A name stands under its line where there is room under the part it covers, else above.
      const under = (sorted, wide) => y(shareAt(sorted, view.end * (1 - wide / (width - LEFT - RIGHT)))) + 14;
      let nameY = under(view.smallest, 90), noiseY = null;
      if (nameY > BOTTOM - 3) nameY = y(last) - 7;
      // Of two models each name stands beside its own line, where that is steep, at a height of its own.
      const beside = (sorted, level, words) => {
        let value = 0;
        while (value < view.end && shareAt(sorted, value) < level) value += view.end / 200;
        if (value < view.end * 0.8) return label(x(value) + 7, y(level) + 4, "start", "name", words);
        return label(width - RIGHT, Math.min(y(shareAt(sorted, view.end)) - 7, BOTTOM - 22), "end", "name", words);
      };
      if (view.noise) {
        noiseY = under(view.noise, 150);
        if (noiseY > BOTTOM - 3) noiseY = y(shareAt(view.noise, view.end)) - 6;
        if (Math.abs(nameY - noiseY) < 15) {
          if (nameY + 15 <= BOTTOM - 3) noiseY = nameY + 15; else nameY = noiseY - 15;
        }
        const unit = view.unit ? `${view.unit} ` : "";
        chart.append(label(width - RIGHT, noiseY, "end", "name muted", `random noise, same ${unit}size`));
      }
      if (!view.second) chart.append(label(width - RIGHT, nameY, "end", "name", view.attack));
      else chart.append(beside(view.smallest, 0.72, view.name), beside(view.second.smallest, 0.34, view.second.name));
      parts = {
        hair: s("line", { class: "now", y1: TOP - 6, y2: BOTTOM }),
        flip: s("path", { class: "flip" }),
        flip2: s("path", { class: "flip second" }),
        noise: s("circle", { class: "dot", r: 3 }),
        second: s("circle", { class: "dot second", r: 4 }),
        dot: s("circle", { class: "dot", r: 4 }),
      };
      if (!view.noise) parts.noise.style.display = "none";
      if (!view.second) parts.second.style.display = "none";
      chart.append(...Object.values(parts));
    }

    function show() {
      if (!view || !width) return;
      const at = x(strength);
      attribute(parts.hair, "x1", at);
      attribute(parts.hair, "x2", at);
      attribute(parts.dot, "cx", at);
      attribute(parts.dot, "cy", y(shareAt(view.smallest, strength)));
      for (const [dot, sorted] of [[parts.noise, view.noise], [parts.second, view.second?.smallest]]) {
        if (!sorted) continue;
        attribute(dot, "cx", at);
        attribute(dot, "cy", y(shareAt(sorted, strength)));
      }
      [parts.flip, parts.flip2].forEach((mark, i) => {
        const shown = pinFlips[i] !== null && pinFlips[i] <= view.end, tip = shown ? x(pinFlips[i]) : 0;
        attribute(mark, "d", shown ? `M${tip - 4.5} ${BOTTOM - 8} h9 l-4.5 8 Z` : "");
      });
      const position = (strength / view.end) * STEPS;
      if (Math.abs(Number(input.value) - position) > 1e-6) input.value = position;
      input.style.setProperty("--at", strength / view.end);
    }

    function stop() {
      if (!playing) return;
      cancelAnimationFrame(playing);
      playing = 0;
      face();
    }
    function face() {
      attribute(icon.firstChild, "d", playing ? "M10.5 9.5v9M17.5 9.5v9" : "M11 8.5l8.5 5.5-8.5 5.5Z");
      attribute(play, "aria-label", playing ? "Pause" : "Play");
      play.classList.toggle("on", Boolean(playing));
    }
    // Where play stops next: at the pin's next crossing if one lies ahead, else at the end.
    const goal = (from) => Math.min(view.end, ...pinFlips.filter((flip) => flip !== null && flip > from + view.end * 1e-4));
    function start() {
      let from = strength >= view.end - 1e-9 ? 0 : strength;
      if (calm.matches) {
        // Without motion a press jumps: to the crossing, or to the next computed strength.
        const next = view.strengths.find((value) => value > from + 1e-6) ?? 0;
        const target = goal(from);
        const to = target < view.end ? Math.min(next, ceilStep(target)) : next;
        on.move(to);
        on.release(to);
        return;
      }
      let before = null;
      const to = goal(from);
      const frame = (now) => {
        if (before !== null) from = Math.min(to, from + ((now - before) / 7000) * view.end);
        before = now;
        if (from >= to) {
          stop();
          const rest = to < view.end ? ceilStep(to) : to;
          on.move(rest);
          on.release(rest);
          return;
        }
        on.move(from);
        playing = requestAnimationFrame(frame);
      };
      playing = requestAnimationFrame(frame);
      face();
    }
    // The first rest position at or past a crossing.
    const ceilStep = (value) => Math.min(view.end, (Math.ceil((value / view.end) * STEPS - 1e-6) * view.end) / STEPS);

    play.onclick = () => {
      if (!view) return;
      if (!playing) return start();
      stop();
      const rest = core.snap(strength, view.end);
      on.move(rest);
      on.release(rest);
    };
    input.oninput = () => {
      stop();
      on.move((Number(input.value) / STEPS) * view.end);
    };
    input.onchange = () => {
      const rest = core.snap(strength, view.end);
      on.move(rest);
      on.release(rest);
    };
    input.onkeydown = (event) => {
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -STEPS, End: STEPS }[event.key];
      if (by === undefined || !view) return;
      event.preventDefault();
      stop();
      const step = Math.min(STEPS, Math.max(0, Math.round((strength / view.end) * STEPS) + by));
      on.move((step * view.end) / STEPS);
      // A held key is one gesture.
      clearTimeout(keyTimer);
      keyTimer = setTimeout(() => on.release(strength), 220);
    };
    // The chart takes the pointer too: the dial is the whole axis.
    const fromPointer = (event) => {
      const box = chart.getBoundingClientRect();
      const at = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
      on.move(Math.min(1, Math.max(0, at)) * view.end);
    };
    chart.onpointerdown = (event) => {
      if (!view || event.button) return;
      stop();
      chart.setPointerCapture(event.pointerId);
      fromPointer(event);
    };
    chart.onpointermove = (event) => { if (chart.hasPointerCapture(event.pointerId)) fromPointer(event); };
    chart.onpointerup = (event) => { if (chart.hasPointerCapture(event.pointerId)) input.onchange(); };
    face();

    return {
      root,
      // view: {end, strengths, smallest, noise, attack, unit}; of two models also name, second: {name, smallest, noise}
      setup(next) {
        view = next;
        root.hidden = !view;
        if (view && width) { draw(); show(); }
      },
      resize(next) {
        width = next;
        if (view && width) { draw(); show(); }
      },
      setFlip(value, which) {
        if (pinFlips[which] === value) return;
        pinFlips[which] = value;
        show();
      },
      update([now, other]) {
        strength = now.strength;
        const n = view.smallest.length, written = strength.toFixed(3);
        text(strengthNumber, written);
        text(strengthWords, ` strength${view.unit ? `, ${view.unit}` : ""}`);
        noisePart.hidden = !view.noise;
        secondPart.hidden = !view.second;
        if (view.second) {
          text(movedNumber, core.share(now.moved, n));
          text(movedWords, ` moved, ${view.name}`);
          text(secondNumber, core.share(other.moved, n));
          text(secondWords, ` moved, ${view.second.name}`);
        } else {
          text(movedNumber, core.group(now.moved));
          text(movedWords, ` of ${core.group(n)} ${view.verb}, ${core.share(now.moved, n)}`);
        }
        if (view.noise) {
          const shares = [core.percent(now.noise, view.noise.length)];
          if (view.second?.noise) shares.push(core.percent(other.noise, view.second.noise.length));
          text(noiseNumber, shares.join(" and "));
          text(noiseWords, ` ${view.noiseVerb} by random noise of equal size`);
        }
        const both = view.second ? `, on the right ${core.group(other.moved)}` : "";
        attribute(input, "aria-valuetext", `${written}: ${core.group(now.moved)} of ${core.group(n)} ${view.verb}${both}`);
        show();
      },
      busy: () => Boolean(playing),
      stop,
    };
  }

  return { create };
})();
