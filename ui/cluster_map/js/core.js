// What the map works out without a page: reading messages, the dial's arithmetic, picking, polygons, label
// placement, words for numbers. No DOM and no GL in here, so node can run it.

/** @import { AnyArray, Geometry, Held, Message, Point, Sections } from "./types.js" */
/** @typedef {ReturnType<typeof buildIndex>} Index */
/** @typedef {ReturnType<typeof flow>} Flow */
/** @typedef {{ cluster: number, x: number, y: number, cost: number, full: boolean }} Placed */
/** @typedef {ArrayLike<number>} Numbers */

/** @type {Record<string, new (buffer: ArrayBufferLike, offset: number, length: number) => AnyArray>} */
const TYPES = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
export const TOP = 65534; // `smallest` of a sample that moves at the dial's end; 65535 means never

/**
 * A message as {header, sections}; sections are typed arrays on the message's own buffer.
 * @param {Uint8Array} message
 * @returns {Message}
 */
export function parse(message) {
  // Streamlit hands over a view into its WebSocket message at any offset; typed arrays need one divisible by 4.
  const bytes = message.byteOffset % 4 ? message.slice() : message;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 8 || view.getUint32(0) !== 0x444d4150) {
    throw new Error(`map data: expected a message that starts with DMAP, got ${bytes.byteLength} other bytes`);
  }
  const length = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  if (header.format !== 1) throw new Error(`map data: field 'format': expected 1, got ${header.format}`);
  /** @type {Sections} */
  const sections = {};
  for (const { name, dtype, shape, offset } of header.sections) {
    const count = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
    const array = new TYPES[dtype](bytes.buffer, bytes.byteOffset + 8 + length + offset, count);
    sections[name] = Object.assign(array, { shape });
  }
  return { header, sections };
}

/**
 * What a picture of `size` values has changed at a moment of the dial, linear between steps: a function of the index.
 * `change` holds signed bytes, step by step, in parts of 127 of each step's `scale`.
 * @param {Int8Array} change
 * @param {Float32Array} scale
 * @param {number} size
 * @param {{ k: number, t: number }} moment
 */
export function changeAt(change, scale, size, { k, t }) {
  const a = (scale[k] / 127) * (1 - t);
  const b = (scale[k + 1] / 127) * t;
  return (/** @type {number} */ i) => change[k * size + i] * a + change[(k + 1) * size + i] * b;
}

/**
 * The rows of drawn points from the steps between them; a step of 255 stands for the next one of `far`.
 * @param {Numbers} gaps
 * @param {Numbers} far
 */
export function rowsOf(gaps, far) {
  const rows = new Uint32Array(gaps.length);
  let row = -1;
  let next = 0;
  for (let i = 0; i < gaps.length; i++) {
    row += gaps[i] < 255 ? gaps[i] : far[next++];
    rows[i] = row;
  }
  return rows;
}

/**
 * Lay a message over what a mount holds. Answers what changed, or null where the base is missing.
 * @param {Held} held
 * @param {Message} message
 */
export function merge(held, { header, sections }) {
  if (!header.whole && header.base !== held.base) return null;
  const changed = {
    base: header.whole && header.base !== held.base,
    tiles: /** @type {[number, AnyArray][]} */ ([]),
  };
  if (header.whole) {
    held.base = header.base;
    held.meta = header.meta;
    held.geometry = /** @type {Geometry} */ ({});
    held.partner = /** @type {Geometry} */ ({});
  }
  held.parts = header.parts;
  held.extra = {};
  for (const [name, array] of Object.entries(sections)) {
    if (name.startsWith("tile.")) changed.tiles.push([Number(name.slice(5)), array]);
    else if (/^(pin|probe|options|control)\./.test(name)) Object.assign(held.extra, { [name]: array });
    else if (name.startsWith("b.")) Object.assign(held.partner, { [name.slice(2)]: array });
    else Object.assign(held.geometry, { [name]: array });
  }
  if (sections.row_gaps) held.geometry.row = rowsOf(sections.row_gaps, sections.row_far);
  return changed;
}

/**
 * Where the dial is between two steps: strengths[k] <= strength, t in [0, 1); `later` is the step that a moved
 * sample counts in.
 * @param {Numbers} strengths
 * @param {number} strength
 */
export function stepOf(strengths, strength) {
  let k = 0;
  while (k < strengths.length - 2 && strengths[k + 1] <= strength) k++;
  const gap = strengths[k + 1] - strengths[k];
  const t = Math.min(1, Math.max(0, (strength - strengths[k]) / gap));
  return { k, t, later: t > 0 ? k + 1 : k };
}

/**
 * The dial on the scale of `smallest`, rounded up as `smallest` was, so that a sample moves at its very strength.
 * @param {number} strength
 * @param {number} end
 */
export const threshold = (strength, end) => Math.min(TOP, Math.ceil((strength / end) * TOP - 1e-6));

/**
 * How many of the ascending `smallest` are at or below q.
 * @param {Numbers} sorted
 * @param {number} q
 */
export function countUpTo(sorted, q) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= q) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Whether a path has moved by q, given both models' `smallest` of it: 0 neither, 1 left, 2 right, 3 both.
 * @param {number} left
 * @param {number} right
 * @param {number} q
 */
export const sideOf = (left, right, q) => (left <= q ? 1 : 0) + (right <= q ? 2 : 0);

/**
 * How many of the paths have moved on which side.
 * @param {Numbers} left
 * @param {Numbers} right
 * @param {number} q
 */
export function joint(left, right, q) {
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < left.length; i++) counts[sideOf(left[i], right[i], q)]++;
  return counts;
}

/**
 * counts[a * k + b]: moved samples that went from cluster a to b; net[c]: change of a cluster's size. The first
 * `moved` of m paths have moved; `clusters` holds m values per step.
 * @param {Numbers} clusters
 * @param {number} m
 * @param {number} k
 * @param {number} moved
 * @param {number} step
 */
export function flow(clusters, m, k, moved, step) {
  const counts = new Uint32Array(k * k);
  const net = new Int32Array(k);
  for (let i = 0; i < moved; i++) {
    const a = clusters[i];
    const b = clusters[step * m + i];
    if (a === b) continue;
    counts[a * k + b]++;
    net[a]--;
    net[b]++;
  }
  // of equal flows the first cell, as the generated sentence has it
  const top = counts.reduce((best, count, cell) => (count > counts[best] ? cell : best), 0);
  const largest = counts[top] ? { from: Math.floor(top / k), to: top % k, count: counts[top] } : null;
  return { counts, net, largest };
}

/**
 * Counts of `smallest` in equal bins over the dial; never-movers are in none.
 * @param {Iterable<number>} sorted
 * @param {number} bins
 */
export function histogram(sorted, bins) {
  const counts = new Uint32Array(bins);
  for (const q of sorted) {
    if (q <= TOP) counts[Math.min(bins - 1, Math.floor((q / TOP) * bins))]++;
  }
  return counts;
}

/**
 * @param {Point[]} polygon
 * @param {number} x
 * @param {number} y
 */
export function insidePolygon(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/**
 * A grid over points in [0, 65535]^2, for nearest-point questions.
 * @param {Numbers} xy
 * @param {Numbers | null} skip
 */
export function buildIndex(xy, skip) {
  const side = 128;
  const n = xy.length / 2;
  const start = new Uint32Array(side * side + 1);
  const cellOf = (/** @type {number} */ i) => (xy[2 * i + 1] >> 9) * side + (xy[2 * i] >> 9);
  for (let i = 0; i < n; i++) if (!skip?.[i]) start[cellOf(i) + 1]++;
  for (let c = 0; c < side * side; c++) start[c + 1] += start[c];
  const fill = start.slice();
  const items = new Uint32Array(start[side * side]);
  for (let i = 0; i < n; i++) if (!skip?.[i]) items[fill[cellOf(i)]++] = i;
  return { side, start, items, xy };
}

/**
 * The nearest indexed point within `radius` of (x, y), all in units of the grid; -1 where there is none.
 * @param {Index} index
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 */
export function nearest(index, x, y, radius) {
  const { side, start, items, xy } = index;
  const cell = (/** @type {number} */ v) => Math.max(0, Math.min(side - 1, Math.floor(v / 512)));
  let best = -1;
  let least = radius * radius;
  for (let row = cell(y - radius); row <= cell(y + radius); row++) {
    for (let column = cell(x - radius); column <= cell(x + radius); column++) {
      for (let j = start[row * side + column]; j < start[row * side + column + 1]; j++) {
        const dx = xy[2 * items[j]] - x;
        const dy = xy[2 * items[j] + 1] - y;
        const d = dx * dx + dy * dy;
        if (d <= least) {
          least = d;
          best = items[j];
        }
      }
    }
  }
  return { at: best, distance: Math.sqrt(least) };
}

/**
 * The next point from (x, y) towards a key's direction: within 45 degrees of it, nearest first, straight ones
 * before slanted ones. `points` yields [id, x, y]; y grows downwards.
 * @template Id
 * @param {Iterable<[Id, number, number]>} points
 * @param {number} x
 * @param {number} y
 * @param {number} dx
 * @param {number} dy
 * @returns {Id | null}
 */
export function towards(points, x, y, dx, dy) {
  let best = null;
  let least = Infinity;
  for (const [id, px, py] of points) {
    const along = (px - x) * dx + (py - y) * dy;
    const across = Math.abs((px - x) * dy - (py - y) * dx);
    const cost = along + 2 * across;
    if (along > 0.5 && across <= along && cost < least) {
      least = cost;
      best = id;
    }
  }
  return best;
}

/**
 * @typedef {object} Crowd What labels are placed among, in px.
 * @property {Numbers} xs of the points
 * @property {Numbers} ys
 * @property {Numbers} clusters of the points
 * @property {number} k
 * @property {Numbers} others further [x, y, x, y, ...] that must stay free
 * @property {number} width
 * @property {number} height
 * @property {number[]} [box] of a label
 * @property {number[][]} [taken] boxes that must stay free
 */

/**
 * How many points lie under a box, from sums over bins of 4 px.
 * @param {Crowd} crowd
 */
function pointsUnder({ xs, ys, others, width, height }) {
  const bin = 4;
  const columns = Math.ceil(width / bin) + 1;
  const rows = Math.ceil(height / bin) + 1;
  const w = columns + 1;
  const sums = new Float64Array(w * (rows + 1));
  const count = (/** @type {number} */ x, /** @type {number} */ y) => {
    const c = Math.floor(x / bin);
    const r = Math.floor(y / bin);
    if (c >= 0 && r >= 0 && c < columns && r < rows) sums[(r + 1) * w + c + 1]++;
  };
  for (let i = 0; i < xs.length; i++) count(xs[i], ys[i]);
  for (let i = 0; i < others.length; i += 2) count(others[i], others[i + 1]);
  for (let r = 1; r <= rows; r++) {
    for (let c = 1; c <= columns; c++) {
      const at = r * w + c;
      sums[at] += sums[at - 1] + sums[at - w] - sums[at - w - 1];
    }
  }
  const clamp = (/** @type {number} */ v, /** @type {number} */ top) => Math.max(0, Math.min(top, Math.round(v / bin)));
  return (/** @type {number[]} */ [x0, y0, x1, y1]) => {
    const a = clamp(x0, columns);
    const b = clamp(x1, columns);
    const c = clamp(y0, rows);
    const d = clamp(y1, rows);
    return sums[d * w + b] - sums[d * w + a] - sums[c * w + b] + sums[c * w + a];
  };
}

/**
 * How far the members reach from (mx, my) in a direction: the 97th percentile of those near that ray.
 * @param {Crowd} crowd
 * @param {number[]} members
 * @param {Point} middle
 * @param {Point} direction
 */
function reachOf({ xs, ys }, members, [mx, my], [ux, uy]) {
  const reach = [];
  for (const i of members) {
    const along = (xs[i] - mx) * ux + (ys[i] - my) * uy;
    if (along > 0 && Math.abs((xs[i] - mx) * uy - (ys[i] - my) * ux) < 16) reach.push(along);
  }
  reach.sort((a, b) => a - b);
  return reach.length ? reach[Math.min(reach.length - 1, Math.floor(reach.length * 0.97))] : 0;
}

/** @param {number[]} values */
const middleOf = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/**
 * One label per cluster, in px: 24 directions around the cluster's median, just outside the 97th percentile of its
 * points near that ray. Cost: points under the label's box, distance, another label, the panel's edge. Largest
 * cluster first. `full` is false where there is room for the number only.
 * @param {Crowd} crowd
 */
export function placeLabels(crowd) {
  const { xs, ys, clusters, k, others } = crowd;
  /** @type {number[][]} */
  const members = Array.from({ length: k }, () => []);
  for (let i = 0; i < xs.length; i++) members[clusters[i]].push(i);
  const order = members.map((_, c) => c).filter((c) => members[c].length);
  order.sort((a, b) => members[b].length - members[a].length);
  const under = pointsUnder(crowd);
  // The weight of a point was chosen at 26,500 drawn positions; more points crowd no label the more.
  const weight = 0.35 * Math.min(1, 26500 / (xs.length + others.length / 2));
  /** @type {Placed[]} */
  const placed = [];
  for (const c of order) {
    /** @type {Point} */
    const middle = [middleOf(members[c].map((i) => xs[i])), middleOf(members[c].map((i) => ys[i]))];
    /** @type {Placed | null} */
    let best = null;
    for (let d = 0; d < 24; d++) {
      /** @type {Point} */
      const direction = [Math.cos((d * Math.PI) / 12), Math.sin((d * Math.PI) / 12)];
      const edge = reachOf(crowd, members[c], middle, direction);
      const label = labelAt(crowd, middle, direction, edge, placed, (box) => weight * under(box));
      if (!best || label.cost < best.cost) best = { cluster: c, ...label };
    }
    if (best) placed.push(best);
  }
  return placed;
}

/**
 * A label just outside a cluster that reaches to `edge` in a direction, and what it costs to have it there.
 * @param {Crowd} crowd
 * @param {Point} middle
 * @param {Point} direction
 * @param {number} edge
 * @param {Placed[]} placed
 * @param {(box: number[]) => number} under
 */
function labelAt({ width, height, box = [46, 34], taken = [] }, [mx, my], [ux, uy], edge, placed, under) {
  const [w, h] = box;
  const distance = edge + 4 + (Math.abs(ux) * w + Math.abs(uy) * h) / 2;
  // Where every direction leads out of the panel the label still stays inside.
  const far = [mx + ux * distance, my + uy * distance];
  const x = Math.min(width - w / 2, Math.max(w / 2, far[0]));
  const y = Math.min(height - h / 2, Math.max(h / 2, far[1]));
  const [left, top, right, bottom] = [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
  const crowd = under([left, top, right, bottom]);
  let cost = crowd + 0.6 * distance;
  if (x !== far[0] || y !== far[1]) cost += 1000;
  if (taken.some(([x0, y0, x1, y1]) => right > x0 && left < x1 && bottom > y0 && top < y1)) cost += 1000;
  if (placed.some((p) => Math.abs(p.x - x) < w && Math.abs(p.y - y) < h)) cost += 1000;
  return { x, y, cost, full: crowd + Math.min(36, 0.6 * distance) <= 70 };
}

/**
 * Opacity by density: per point a factor in [0.3, 1], lower where many lie (px, bins of 6).
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {number} width
 * @param {number} height
 */
export function density(xs, ys, width, height) {
  const bin = 6;
  const columns = Math.ceil(width / bin) + 2;
  const grid = new Float32Array(columns * (Math.ceil(height / bin) + 2));
  const cell = (/** @type {number} */ i) => {
    const c = Math.max(0, Math.min(columns - 1, Math.floor(xs[i] / bin) + 1));
    return Math.max(0, Math.min(grid.length - 1, (Math.floor(ys[i] / bin) + 1) * columns + c));
  };
  for (let i = 0; i < xs.length; i++) grid[cell(i)]++;
  return Float32Array.from(xs, (_, i) => Math.max(0.3, Math.min(1, 1.35 / Math.sqrt(1 + grid[cell(i)] / 3))));
}

/**
 * Opacity of n points of `size` px on `area` square px: `full` while they would cover up to 0.4 of it, as 10,000 points
 * of 3.8 px do on 600 x 600, then less by the square root of what they cover, but never so little that one alone is
 * lost.
 * @param {number} full
 * @param {number} n
 * @param {number} size
 * @param {number} area
 */
export const opacity = (full, n, size, area) =>
  Math.min(full, Math.max(0.22, full * Math.sqrt((0.4 * area) / Math.max(1, n * size * size))));

/** @param {number} n */
export const group = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");
/** @param {number} n */
export const signed = (n) => (n > 0 ? `+${group(n)}` : n < 0 ? `\u2212${group(-n)}` : "\u00b10");

/**
 * "28 \u00b1 3 %", the 95 % normal interval rounded up; near 0 and 100 one decimal and no interval, which would lie.
 * @param {number} count
 * @param {number} n
 */
export function share(count, n) {
  if (!n) return "0 %";
  const p = count / n;
  if (p < 0.01 || p > 0.99) return percent(count, n);
  return `${Math.round(p * 100)} \u00b1 ${Math.ceil(196 * Math.sqrt((p * (1 - p)) / n))} %`;
}

/**
 * In between "0 %" and "100 %" no rounding to either.
 * @param {number} count
 * @param {number} n
 */
export function percent(count, n) {
  const p = n ? (100 * count) / n : 0;
  if (p > 0 && p < 0.05) return "< 0.1 %";
  if (p < 100 && p >= 99.95) return "> 99.9 %";
  return `${p === 0 || p === 100 ? p : p < 1 || p > 99 ? p.toFixed(1) : Math.round(p)} %`;
}

/**
 * Labelled places on [0, end], the end among them: the largest "nice" step that gives at least `least` parts.
 * @param {number} end
 * @param {number} least
 */
export function ticks(end, least) {
  const scale = 10 ** Math.floor(Math.log10(end / least));
  let step = 0;
  for (const nice of [1, 1.5, 2, 2.5, 3, 4, 5, 10]) {
    const parts = end / (nice * scale);
    if (parts >= least - 1e-9 && Math.abs(parts - Math.round(parts)) < 1e-6) step = nice * scale;
  }
  const digits = (/** @type {number} */ v) => Math.max(0, -Math.floor(Math.log10(v) + 1e-9));
  if (!step) {
    step = [5, 4, 2.5, 2, 1].map((v) => v * scale).find((v) => end / v >= least - 1e-9) ?? scale;
  }
  const odd = String(+(step / 10 ** -digits(step)).toFixed(6)).includes(".");
  const places = Math.min(4, digits(step) + (odd ? 1 : 0));
  const values = [];
  for (let i = 0; i * step < end * (1 - 1e-9); i++) values.push(i * step);
  // The end of a dial is always named; a tick too close before it gives way.
  if (end - values[values.length - 1] < step * 0.6) values.pop();
  values.push(end);
  const words = (/** @type {number} */ value) =>
    value.toFixed(value === end ? Math.max(places, Math.min(3, decimals(end))) : places);
  return values.map((value) => ({ value, text: value === 0 ? "0" : words(value) }));
}

/** @param {number} value */
function decimals(value) {
  for (let d = 0; d < 4; d++) if (Math.abs(value - Number(value.toFixed(d))) < 1e-7) return d;
  return 4;
}

/**
 * A strength in as few decimals as it needs, at most three.
 * @param {number} value
 */
export const brief = (value) => value.toFixed(Math.min(3, decimals(value)));

/**
 * A smallest strength: one more decimal where three would leave one digit.
 * @param {number} value
 */
export const fine = (value) => (value > 0 && value < 5e-5 ? "< 0.0001" : value.toFixed(value < 0.01 ? 4 : 3));

/**
 * The dial's grid at rest: 200 steps, the unit of the arrow keys and of the strength entry.
 * @param {number} strength
 * @param {number} end
 */
export const snap = (strength, end) => (Math.round((strength / end) * 200) * end) / 200;
