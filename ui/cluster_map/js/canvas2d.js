// The same two layers without WebGL, in Canvas2D: slower and plainer, with the same interface as webgl.js.

import { context2d } from "./dom.js";

/** @import { Look, MovingLook, PanelRenderer, Paths, Point, Raster, Renderer } from "./types.js" */
/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {{ xy: Uint16Array, clusters: Uint8Array, rgba: Uint8Array, marks: Uint8Array }} Base */
/** @typedef {Paths & { rgba: Uint8Array, marks: Uint8Array }} Moving */
/** @typedef {Raster & { palette: Uint8Array, images: Record<string, HTMLCanvasElement> }} Regions */

const NONE = new Uint8Array(0);

/**
 * @param {HTMLCanvasElement} still
 * @param {HTMLCanvasElement} live
 * @returns {Renderer}
 */
export function create(still, live) {
  const a = context2d(still);
  const b = context2d(live);
  return {
    name: "canvas2d",
    panel: () => panel(a, b),
    lost: () => false,
    resize(width, height, dpr) {
      for (const canvas of [still, live]) {
        canvas.width = Math.round(width * dpr);
        canvas.height = Math.round(height * dpr);
      }
    },
    clear(stillToo) {
      for (const context of stillToo ? [a, b] : [b]) {
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, live.width, live.height);
      }
    },
    finish() {},
    free() {},
  };
}

/**
 * @param {Uint16Array | number[]} xy
 * @param {number} i
 * @param {Look} look
 * @returns {Point}
 */
const at = (xy, i, { camera, width, height }) => [
  ((xy[2 * i] / 65535) * camera[2] + camera[0] + 1) * width * 0.5,
  (1 - (xy[2 * i + 1] / 65535) * camera[3] - camera[1]) * height * 0.5,
];

/**
 * @param {number[]} rgb
 * @param {number} alpha
 */
const css = (rgb, alpha) => `rgba(${rgb.map((v) => Math.round(v * 255)).join(",")},${alpha})`;

/**
 * @param {Uint8Array} rgba
 * @param {number} i
 * @param {number} alpha
 */
const byte = (rgba, i, alpha) => `rgba(${rgba[4 * i]},${rgba[4 * i + 1]},${rgba[4 * i + 2]},${alpha})`;

/**
 * How much of a point shows: it is faded where it steps back.
 * @param {Base | Moving} points
 * @param {number} i
 * @param {Look} look
 */
const shade = ({ marks, clusters }, i, { isolate, faded }) =>
  marks[i] === 1 || (isolate >= 0 && clusters[i] !== isolate) ? faded : 1;

/**
 * @param {Context} context
 * @param {Point} place
 * @param {number} radius
 */
function dot(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
}

/**
 * What is drawn next stays inside its panel.
 * @param {Context} context
 * @param {Look} look
 */
function frame(context, { place: [left, top], width, height, dpr }) {
  context.setTransform(dpr, 0, 0, dpr, left * dpr, top * dpr);
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.clip();
}

/**
 * @param {Context} a
 * @param {Context} b
 * @returns {PanelRenderer}
 */
function panel(a, b) {
  let base = /** @type {Base | null} */ (null);
  let moving = /** @type {Moving | null} */ (null);
  let regions = /** @type {Regions | null} */ (null);
  return {
    setBase(xy, clusters) {
      base = { xy, clusters, rgba: NONE, marks: NONE };
    },
    setPaths(path) {
      moving = path?.smallest.length ? { ...path, rgba: NONE, marks: NONE } : null;
    },
    setBaseLook(rgba, marks) {
      if (base) Object.assign(base, { rgba, marks });
    },
    setPathLook(rgba, marks) {
      if (moving) Object.assign(moving, { rgba, marks });
    },
    setPathMarks(marks) {
      if (moving) moving.marks = marks;
    },
    setRaster(raster, palette) {
      regions = raster && { ...raster, palette, images: {} };
    },
    drawStatic(look) {
      frame(a, look);
      if (regions) drawRegions(a, regions, look);
      if (base) drawBase(a, base, look);
      a.restore();
    },
    drawOverlay(look) {
      if (!moving) return;
      frame(b, look);
      const plain = Math.min(1, Math.sqrt(350 / Math.max(1, look.crowd)));
      drawTrails(b, moving, look, plain);
      if (!look.onlyMoved) drawStanding(b, moving, look);
      drawMoved(b, moving, look, plain);
      b.restore();
    },
  };
}

/**
 * @param {Context} context
 * @param {Regions} regions
 * @param {Look} look
 */
function drawRegions(context, regions, look) {
  const { tint = 0, edges = 0, trust = 0 } = look.regions ?? {};
  if (!look.box || !(tint || edges || trust)) return;
  const name = [tint, edges, trust, look.ink].join();
  regions.images[name] ??= picture(regions, look.ink, tint, edges, trust);
  const corner = (/** @type {number} */ x, /** @type {number} */ y) => at([x * 65535, y * 65535], 0, look);
  const [x0, y0] = corner(look.box[0], look.box[1]);
  const [x1, y1] = corner(look.box[2], look.box[3]);
  context.drawImage(regions.images[name], x0, y1, x1 - x0, y0 - y1);
}

/**
 * The regions as an image of one pixel per cell, row 0 at the bottom of the map.
 * @param {Regions} regions
 * @param {number[]} ink
 * @param {number} tint
 * @param {number} edges
 * @param {number} trust
 */
function picture({ winner, margin, trusted, palette }, ink, tint, edges, trust) {
  const side = Math.sqrt(winner.length);
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = side;
  const context = context2d(canvas);
  const image = context.createImageData(side, side);
  for (let r = 0; r < side; r++) {
    for (let c = 0; c < side; c++) {
      const i = r * side + c;
      const o = ((side - 1 - r) * side + c) * 4;
      const w = winner[i];
      const right = c + 1 < side && winner[i + 1] !== w;
      const above = r + 1 < side && winner[i + side] !== w;
      const border = edges && (right || above);
      const hatch = trust && !trusted[i] && (r + c) % 4 === 0;
      for (let j = 0; j < 3; j++) image.data[o + j] = border || hatch ? ink[j] * 255 : palette[(w % 10) * 3 + j];
      image.data[o + 3] = border ? 110 : hatch ? 80 : tint ? 13 + margin[i] * 0.21 : 0;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {Context} context
 * @param {Base} base
 * @param {Look} look
 */
function drawBase(context, base, look) {
  for (let i = 0; i < base.clusters.length; i++) {
    const [x, y] = at(base.xy, i, look);
    const marked = base.marks[i] === 2;
    const alpha = base.rgba[4 * i + 3];
    if (!alpha && !marked) continue;
    context.fillStyle = byte(base.rgba, i, marked ? 1 : (alpha / 255) * look.baseAlpha * shade(base, i, look));
    const radius = look.baseSize / 2 + (marked ? 0.8 : 0);
    if (!marked) {
      context.fillRect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
      continue;
    }
    dot(context, [x, y], radius);
    context.fill();
    context.strokeStyle = css(look.ink, 1);
    context.stroke();
  }
}

/**
 * A point in the head's interval.
 * @param {Moving} moving
 * @param {number} i
 * @param {MovingLook} look
 * @returns {Point}
 */
function head({ xy, smallest }, i, look) {
  const m = smallest.length;
  const p = at(xy, look.k * m + i, look);
  const q = at(xy, (look.k + 1) * m + i, look);
  return [p[0] + (q[0] - p[0]) * look.t, p[1] + (q[1] - p[1]) * look.t];
}

/**
 * @param {Context} context
 * @param {Moving} moving
 * @param {MovingLook} look
 * @param {number} plain how plainly a trail shows: the less the more there are
 */
function drawTrails(context, moving, look, plain) {
  const { moved, trails, q, k } = look;
  const m = moving.smallest.length;
  for (let i = Math.max(0, moved - trails); i < moved; i++) {
    if (moving.marks[i] === 3) continue;
    const age = (q - moving.smallest[i]) / 65535;
    const alpha = (0.1 * plain + 0.55 * Math.sqrt(plain) * Math.exp(-age / 0.05)) * 0.6;
    context.strokeStyle = byte(moving.rgba, i, alpha * shade(moving, i, look));
    context.lineWidth = look.scale;
    context.beginPath();
    for (let j = 0; j <= k; j++) context.lineTo(...at(moving.xy, j * m + i, look));
    context.lineTo(...head(moving, i, look));
    context.stroke();
  }
}

/**
 * The attacked samples that have not moved.
 * @param {Context} context
 * @param {Moving} moving
 * @param {MovingLook} look
 */
function drawStanding(context, moving, look) {
  for (let i = look.moved; i < moving.smallest.length; i++) {
    if (moving.marks[i] === 3) continue;
    context.fillStyle = byte(moving.rgba, i, look.pathAlpha * shade(moving, i, look));
    dot(context, head(moving, i, look), look.pathSize / 2);
    context.fill();
  }
}

/**
 * Those that have: a ring around a dot, larger where it moved just now.
 * @param {Context} context
 * @param {Moving} moving
 * @param {MovingLook} look
 * @param {number} plain
 */
function drawMoved(context, moving, look, plain) {
  const { scale } = look;
  for (let i = 0; i < look.moved; i++) {
    if (moving.marks[i] === 3) continue;
    const place = head(moving, i, look);
    const shown = shade(moving, i, look);
    const age = (look.q - moving.smallest[i]) / 65535;
    const young = Math.exp(-age / 0.07);
    context.fillStyle = css(look.ground, (0.55 + 0.35 * young) * shown);
    dot(context, place, (3.5 + 2.6 * Math.exp(-age / 0.016)) * scale);
    context.fill();
    context.strokeStyle = css(look.ink, (0.42 * plain + (0.95 - 0.42 * plain) * young) * shown);
    context.lineWidth = moving.marks[i] === 2 ? 2 : 1;
    context.stroke();
    context.fillStyle = byte(moving.rgba, i, shown);
    dot(context, place, (1.9 + 0.6 * young) * scale);
    context.fill();
  }
}
