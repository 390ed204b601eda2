// Two models beside each other: who moved on the left only, on both sides, on the right only, on neither. The parts of
// the bar follow the dial; a click on one leaves all others out of both maps, a second click takes them back.
const strip = (() => {
  const { h, text, attribute } = dom;
  const ORDER = [1, 3, 2, 0]; // left, both, right, neither, as core.sideOf says it
  const WORDS = { wide: ["moved only left", "both", "only right", "neither"], stacked: ["moved only above", "both", "only below", "neither"] };

  // `on(side)`: the side that was asked for, or null.
  function create(on) {
    const bar = h("div", { class: "bar", "aria-hidden": "true" }), names = h("div", { class: "names" });
    const root = h("div", { class: "strip", "data-testid": "map-strip", role: "group", "aria-label": "Who moved; each part filters both maps" }, bar, names);
    let shown = null, words = WORDS.wide, counts = null, width = 0;
    const parts = ORDER.map((side, i) => {
      const number = h("b"), name = h("span");
      const press = () => { shown = shown === side ? null : side; on(shown); show(); };
      const segment = h("i", { class: `part part-${i}`, onclick: press });
      const button = h("button", { type: "button", "data-testid": `map-side-${["left", "both", "right", "neither"][i]}`, onclick: press }, number, name);
      bar.append(segment);
      names.append(button);
      return { side, number, name, segment, button };
    });

    function show() {
      if (!counts) return;
      const n = counts.reduce((a, b) => a + b, 0), least = 112, starts = [];
      let from = 0;
      parts.forEach(({ side, segment, number, name, button }, i) => {
        const count = counts[side];
        segment.style.flexGrow = count;
        segment.hidden = !count;
        text(number, core.group(count));
        text(name, `${words[i]}, ${core.percent(count, n)}`);
        attribute(button, "aria-pressed", String(shown === side));
        for (const part of [segment, button]) part.classList.toggle("aside", shown !== null && shown !== side);
        starts.push((from / n) * width);
        from += count;
      });
      // Each number under its own part, never nearer than `least` to the next; where that is too wide, one row of equals.
      const places = starts.map((at, i) => Math.max(at, i * least));
      for (let i = places.length - 1; i >= 0; i--) places[i] = Math.min(places[i], width - (places.length - i) * least);
      for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + least);
      const fits = width >= parts.length * least;
      names.classList.toggle("even", !fits);
      parts.forEach(({ button }, i) => {
        const last = i === parts.length - 1;
        button.style.left = fits && !last ? `${places[i]}px` : "";
      });
    }

    return {
      root,
      update(next) { counts = next; show(); },
      resize(next, stacked) {
        width = next;
        words = stacked ? WORDS.stacked : WORDS.wide;
        show();
      },
      clear() { shown = null; show(); },
    };
  }

  return { create };
})();
