// The decoder's view of the pinned sample: the sample itself, its embedding decoded, the attacked embedding decoded, and
// what differs between these two.
const decoder = (() => {
  const { h, text, paint, paintChange, figure, named } = dom;
  const HINT = "L2: how far the two decoded images are apart, pixel values from 0 to 1. The decoder errs by as much as the clean one is from the original. In percent: of the clean decoded image's length.";
  const SAME = 0.1; // what an eye takes for the same picture; the number stands beside the word

  function create() {
    const aside = h("span", { class: "aside", title: HINT });
    const images = ["original", "decoded", "attacked", "difference"].map(figure);
    const [original, clean, attacked, difference] = images;
    const caption = h("p", { class: "note", "data-testid": "map-decoder-note", title: HINT });
    const root = h(
      "section", { "data-testid": "map-decoder" }, h("div", { class: "head" }, h("h4", { text: "Through the decoder" }), aside),
      h("div", { class: "triptych four" }, ...images.map((image) => image.root)), caption,
    );
    for (const { title, canvas } of images) text(title, canvas.getAttribute("aria-label"));
    attacked.canvas.setAttribute("aria-label", "attacked embedding, decoded");
    let drawn = null, error = 0, whole = 1;

    const length = (array, value) => Math.sqrt(array.reduce((sum, _, i) => sum + value(i) ** 2, 0));
    function start({ decoded, image }) {
      drawn = decoded;
      error = length(decoded, (i) => (decoded[i] - image[i]) / 255);
      whole = length(decoded, (i) => decoded[i] / 255) || 1;
      paint(original.canvas, image.shape, (i) => image[i]);
      paint(clean.canvas, decoded.shape, (i) => decoded[i]);
    }

    return {
      root,
      // The pinned sample at the dialled strength; `p` and `before`: its soft assignments there and clean.
      update({ cluster, now: after, detail }, now, theme, p, before) {
        root.hidden = !detail?.decoded;
        if (root.hidden) return;
        const { decoded } = detail, { shape } = decoded;
        if (drawn !== decoded) start(detail);
        const delta = core.changeAt(detail.decoded_change, detail.decoded_scale, decoded.length, now);
        const apart = length(decoded, delta), share = apart / whole;
        const largest = decoded.reduce((most, _, i) => Math.max(most, Math.abs(delta(i))), 0);
        paint(attacked.canvas, shape, (i) => decoded[i] + delta(i) * 255);
        paintChange(difference.canvas, shape, delta, largest, theme);
        text(difference.below, largest ? `\u00b1${largest.toFixed(largest < 0.1 ? 3 : 2)}` : "none");
        if (p) {
          named(clean.below, cluster, `${cluster}, ${before[cluster].toFixed(2)}`);
          named(attacked.below, after, `${after}, ${p[after].toFixed(2)}`);
        }
        text(aside, `L2 ${apart.toFixed(2)}, decoder errs ${error.toFixed(2)}`);
        const percent = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
        const picture = !largest ? "Same picture" : share < SAME ? `Same picture within ${percent}` : `Picture changed by ${percent}`;
        text(caption, `${picture}, ${cluster === after ? "same cluster" : `different cluster: ${cluster} \u2192 ${after}`}.`);
      },
    };
  }

  return { create };
})();
