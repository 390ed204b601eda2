// Building blocks for the page's side: elements without innerHTML, colours, small pictures.
const dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element[name] = value;
      else if (name === "text") element.textContent = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // Sets text or an attribute only where it differs: a frame touches what moved.
  function text(element, value) {
    if (element.textContent !== value) element.textContent = value;
  }
  function attribute(element, name, value) {
    if (value === null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }

  // Petroff-10; the light theme gives the four pale hues an edge, the dark one lightens the two deep ones.
  const HUES = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];
  const EDGES = { 1: "#c18517", 3: "#869594", 7: "#9b9263", 9: "#6a9a9e" };
  const DARK = { 2: "#c23115", 4: "#9246bf" };
  // Cividis in ten stops: low values dark.
  const RAMP = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8779", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  // Any CSS colour as three numbers in [0, 1]; the theme's variables may hold any notation.
  function parseColour(value, fallback) {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = fallback;
    context.fillStyle = value;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((v) => v / 255);
  }

  function readTheme(host) {
    const style = getComputedStyle(host);
    const variable = (name) => style.getPropertyValue(name).trim();
    const ground = parseColour(variable("--st-background-color"), "#ffffff");
    const ink = parseColour(variable("--st-text-color"), "#23282e");
    const pane = parseColour(variable("--st-secondary-background-color"), "#f5f6f7");
    const dark = 0.3 * ground[0] + 0.59 * ground[1] + 0.11 * ground[2] < 0.5;
    const hues = HUES.map((hue, i) => (dark ? DARK[i] ?? hue : hue));
    const edges = hues.map((hue, i) => (dark ? hue : EDGES[i] ?? hue));
    const ramp = dark ? [...RAMP].reverse() : RAMP;
    const signed = (dark ? ["#56aaa0", "#cd78a5"] : ["#288078", "#b05487"]).map(rgb);
    return { ground, ink, pane, dark, hues, edges, ramp, signed, rgb: hues.map(rgb), rampRgb: ramp.map(rgb) };
  }

  const blend = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
  // A colour of the ramp at [0, 1].
  function onRamp(rampRgb, value) {
    const at = Math.min(1, Math.max(0, value)) * (rampRgb.length - 1), i = Math.min(rampRgb.length - 2, Math.floor(at));
    return blend(rampRgb[i], rampRgb[i + 1], at - i);
  }

  // Draws (c, h, w) bytes, read by `value(index)`, into a canvas of that size.
  function paint(canvas, [c, height, width], value) {
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d"), image = context.createImageData(width, height), area = width * height;
    for (let i = 0; i < area; i++) {
      for (let j = 0; j < 3; j++) image.data[4 * i + j] = value((c === 3 ? j : 0) * area + i);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // Draws a signed change of strength `scale` in the diverging colours; channels are averaged.
  function paintChange(canvas, [c, height, width], value, scale, theme) {
    const context = ((canvas.width = width), (canvas.height = height), canvas.getContext("2d"));
    const image = context.createImageData(width, height), area = width * height, middle = theme.pane.map((v) => v * 255);
    for (let i = 0; i < area; i++) {
      let sum = 0;
      for (let j = 0; j < c; j++) sum += value(j * area + i);
      const v = scale > 0 ? Math.max(-1, Math.min(1, sum / c / scale)) : 0;
      const colour = blend(middle, theme.signed[v < 0 ? 0 : 1], Math.abs(v));
      for (let j = 0; j < 3; j++) image.data[4 * i + j] = colour[j];
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  const swatch = (cluster) => h("i", { class: "swatch", style: `--hue: var(--hue-${cluster % 10}); --edge: var(--edge-${cluster % 10})` });

  // A picture with a name and a line below it.
  function figure(name) {
    const canvas = h("canvas", { width: 1, height: 1, role: "img", "aria-label": name });
    const title = h("b", { text: name }), below = h("span", { class: "sub" });
    return { root: h("figure", {}, canvas, h("figcaption", {}, title, below)), canvas, title, below };
  }
  function named(element, cluster, words) {
    element.replaceChildren(swatch(cluster), words);
  }

  return { h, s, text, attribute, readTheme, blend, onRamp, paint, paintChange, swatch, figure, named };
})();
