// The map's arithmetic under node: node --test tests/ui/cluster_map/js/
import assert from "node:assert/strict";
import test from "node:test";
import * as core from "../../../../ui/cluster_map/js/core.js";

function random(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) % 4294967296;
    return seed / 4294967296;
  };
}

// A message as packing.py writes it, from scratch.
function message(header, sections) {
  const listed = [],
    blobs = [];
  let offset = 0;
  for (const [name, array] of Object.entries(sections)) {
    const dtype = array.constructor.name.replace("Array", "").toLowerCase();
    listed.push({ name, dtype, shape: [array.length], offset });
    const blob = new Uint8Array(Math.ceil(array.byteLength / 4) * 4);
    blob.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    blobs.push(blob);
    offset += blob.length;
  }
  let text = JSON.stringify({ format: 1, ...header, sections: listed });
  text += " ".repeat((4 - (Buffer.byteLength(text) % 4)) % 4);
  const head = Buffer.from(text),
    size = Buffer.alloc(4);
  size.writeUInt32LE(head.length);
  return new Uint8Array(Buffer.concat([Buffer.from("DMAP"), size, head, ...blobs]));
}

test("parse reads sections at any offset into a larger buffer", () => {
  const bytes = message({ note: "L\u221e" }, { a: Uint16Array.of(1, 65535, 7), b: Float32Array.of(0.5) });
  for (const shift of [0, 1, 2, 3]) {
    const whole = new Uint8Array(bytes.length + shift);
    whole.set(bytes, shift);
    const { header, sections } = core.parse(whole.subarray(shift));
    assert.equal(header.note, "L\u221e");
    assert.deepEqual([...sections.a], [1, 65535, 7]);
    assert.deepEqual([...sections.b], [0.5]);
  }
});

test("parse refuses other data and other formats by name", () => {
  assert.throws(() => core.parse(new Uint8Array(12)), /expected a message that starts with DMAP/);
  assert.throws(() => core.parse(message({ format: 2 }, {})), /field 'format': expected 1, got 2/);
});

test("a patch needs its base, keeps its geometry, and replaces all parts", () => {
  const held = {};
  const parse = (header, sections = {}) => core.parse(message(header, sections));
  assert.equal(core.merge(held, parse({ base: "h", whole: false, parts: {} })), null);
  const whole = { base: "h", whole: true, meta: { n: 2 }, parts: { pin: { row: 1 } } };
  assert.equal(
    core.merge(held, parse(whole, { xy: Uint16Array.of(1, 2, 3, 4), "pin.p": Float32Array.of(1) })).base,
    true,
  );
  const changed = core.merge(
    held,
    parse({ base: "h", whole: false, parts: { pin: null } }, { "tile.3": Uint8Array.of(9) }),
  );
  assert.deepEqual([changed.base, changed.tiles.length, changed.tiles[0][0]], [false, 1, 3]);
  assert.deepEqual([...held.geometry.xy], [1, 2, 3, 4]);
  assert.equal(held.extra["pin.p"], undefined);
  assert.equal(held.parts.pin, null);
  assert.equal(core.merge(held, parse({ ...whole, base: "other" })).base, true);
  assert.equal(held.geometry.xy, undefined);
});

test("the dial stands between two steps", () => {
  const strengths = [0, 0.1, 0.4];
  assert.deepEqual(core.stepOf(strengths, 0), { k: 0, t: 0, later: 0 });
  assert.deepEqual(core.stepOf(strengths, 0.1), { k: 1, t: 0, later: 1 });
  assert.deepEqual(core.stepOf(strengths, 0.4), { k: 1, t: 1, later: 2 });
  const { k, t, later } = core.stepOf(strengths, 0.25);
  assert.deepEqual([k, later], [1, 2]);
  assert.ok(Math.abs(t - 0.5) < 1e-12);
});

test("moved means smallest <= strength, also after quantisation", () => {
  const draw = random(1),
    end = 0.3;
  const smallest = Array.from({ length: 500 }, () => Math.fround(draw() * end * 1.2)).sort((a, b) => a - b);
  const packed = Uint16Array.from(smallest, (v) => (v <= end ? Math.ceil((v * core.TOP) / end) : 65535));
  for (const strength of [0, end, ...smallest.slice(0, 300), ...Array.from({ length: 200 }, () => draw() * end)]) {
    if (strength > end) continue;
    const exact = smallest.filter((v) => v <= strength).length;
    const within = smallest.filter((v) => v <= Math.min(end, strength + end / core.TOP)).length;
    const moved = core.countUpTo(packed, core.threshold(strength, end));
    assert.ok(moved >= exact && moved <= within, `${strength}: ${exact} <= ${moved} <= ${within}`);
  }
  assert.equal(core.countUpTo(Uint16Array.of(3, 65535), core.threshold(end, end)), 1);
});

test("flow and net change agree with a count by hand", () => {
  const m = 5,
    k = 3,
    clusters = Uint8Array.of(0, 0, 1, 2, 1, /* later */ 1, 1, 2, 2, 0);
  const { counts, net, largest } = core.flow(clusters, m, k, 4, 1);
  assert.deepEqual([...counts], [0, 2, 0, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual([...net], [-2, 1, 1]);
  assert.deepEqual(largest, { from: 0, to: 1, count: 2 });
  assert.equal(core.flow(clusters, m, k, 0, 1).largest, null);
});

test("the histogram counts every mover once", () => {
  const counts = core.histogram(Uint16Array.of(0, 1, 65534, 65535), 60);
  assert.deepEqual([counts[0], counts[59], counts.reduce((a, b) => a + b)], [2, 1, 3]);
});

test("inside a polygon: even-odd, against a winding-free box", () => {
  const box = [
      [0, 0],
      [2, 0],
      [2, 1],
      [0, 1],
    ],
    draw = random(3);
  for (let i = 0; i < 200; i++) {
    const x = draw() * 4 - 1,
      y = draw() * 3 - 1;
    assert.equal(core.insidePolygon(box, x, y), x > 0 && x < 2 && y > 0 && y < 1);
  }
  const bow = [
    [0, 0],
    [2, 2],
    [2, 0],
    [0, 2],
  ];
  assert.ok(core.insidePolygon(bow, 0.3, 1) && !core.insidePolygon(bow, 1, 0.3));
});

test("nearest agrees with looking at every point", () => {
  const draw = random(5),
    n = 3000,
    xy = Uint16Array.from({ length: 2 * n }, () => draw() * 65535);
  const skip = Uint8Array.from({ length: n }, () => draw() < 0.2);
  const index = core.buildIndex(xy, skip);
  for (let i = 0; i < 200; i++) {
    const x = draw() * 65535,
      y = draw() * 65535,
      radius = draw() * 3000;
    let best = -1,
      least = radius;
    for (let j = 0; j < n; j++) {
      const d = Math.hypot(xy[2 * j] - x, xy[2 * j + 1] - y);
      if (!skip[j] && d < least) {
        least = d;
        best = j;
      }
    }
    const found = core.nearest(index, x, y, radius);
    assert.equal(found.at, best);
    if (best >= 0) assert.ok(Math.abs(found.distance - least) < 1e-6);
  }
});

test("arrow keys go to a point that way, or nowhere", () => {
  const points = [
    ["near", 10, 1],
    ["far", 30, 0],
    ["up", 1, -8],
    ["here", 0, 0],
  ];
  assert.equal(core.towards(points, 0, 0, 1, 0), "near");
  assert.equal(core.towards(points, 0, 0, 0, -1), "up");
  assert.equal(core.towards(points, 0, 0, -1, 0), null);
});

test("labels stay in the panel, off one another and off what is taken", () => {
  const draw = random(7),
    xs = [],
    ys = [],
    clusters = [];
  for (let c = 0; c < 6; c++) {
    const cx = 150 + (c % 3) * 180,
      cy = 150 + Math.floor(c / 3) * 200;
    for (let i = 0; i < 100 * (c + 1); i++) {
      xs.push(cx + (draw() - 0.5) * 80);
      ys.push(cy + (draw() - 0.5) * 80);
      clusters.push(c);
    }
  }
  const taken = [[500, 0, 700, 24]];
  const placed = core.placeLabels({ xs, ys, clusters, k: 7, others: [], width: 700, height: 500, taken });
  assert.deepEqual(
    placed.map((p) => p.cluster),
    [5, 4, 3, 2, 1, 0],
  );
  for (const [i, p] of placed.entries()) {
    assert.ok(p.x >= 23 && p.x <= 677 && p.y >= 17 && p.y <= 483);
    assert.ok(p.x + 23 <= 500 || p.y - 17 >= 24);
    for (const q of placed.slice(i + 1)) assert.ok(Math.abs(p.x - q.x) >= 46 || Math.abs(p.y - q.y) >= 34);
  }
});

test("a crowded label keeps its number only", () => {
  const draw = random(9),
    n = 20000,
    xs = Array.from({ length: n }, () => draw() * 300),
    ys = Array.from({ length: n }, () => draw() * 300);
  const [only] = core.placeLabels({ xs, ys, clusters: new Uint8Array(n), k: 1, others: [], width: 300, height: 300 });
  assert.equal(only.full, false);
});

test("density keeps lone points opaque and thins crowds", () => {
  const xs = [500, ...Array(300).fill(100)],
    ys = [300, ...Array(300).fill(100)];
  const factors = core.density(xs, ys, 700, 500);
  assert.equal(factors[0], 1);
  assert.ok(factors[1] < 0.35 && factors[1] >= 0.3);
});

test("words for numbers", () => {
  assert.equal(core.share(413, 1500), "28 \u00b1 3 %");
  assert.equal(core.share(3, 1500), "0.2 %");
  assert.equal(core.share(1499, 1500), "99.9 %");
  assert.equal(core.share(0, 1500), "0 %");
  assert.equal(core.share(1500, 1500), "100 %");
  assert.equal(core.percent(3, 1500), "0.2 %");
  assert.equal(core.share(1, 5000), "< 0.1 %");
  assert.equal(core.share(4999, 5000), "> 99.9 %");
  assert.equal(core.signed(-1234), "\u22121,234");
  assert.equal(core.signed(0), "\u00b10");
  assert.equal(core.brief(Math.fround(0.3)), "0.3");
  assert.equal(core.brief(16 / 255), "0.063");
});

test("ticks start at 0, end at the end, and stay apart", () => {
  for (const end of [0.3, 0.4, 1, 1.5, 2, 3, 16 / 255, 0.0317]) {
    for (const least of [4, 8]) {
      const ticks = core.ticks(end, least),
        values = ticks.map((t) => t.value);
      assert.equal(values[0], 0);
      assert.equal(values.at(-1), end);
      assert.ok(ticks.length >= least && ticks.length <= 2 * least + 4, `${end}: ${ticks.length}`);
      assert.equal(new Set(ticks.map((t) => t.text)).size, ticks.length);
    }
  }
});

test("the dial rests on 200 steps", () => {
  assert.equal(core.snap(0.1003, 0.4), 0.1);
  assert.equal(core.snap(0.4, 0.4), 0.4);
  assert.ok(Math.abs(core.snap(core.snap(0.07, 0.3), 0.3) - core.snap(0.07, 0.3)) < 1e-15);
});

test("who moved on which side adds up, and is a swap of left and right for a swap of the models", () => {
  const next = random(11),
    n = 500;
  const left = Uint16Array.from({ length: n }, () => Math.floor(next() * 65536));
  const right = Uint16Array.from({ length: n }, () => Math.floor(next() * 65536));
  left[0] = right[1] = 65535;
  for (const q of [0, 1, 20000, 65534]) {
    const [neither, only, other, both] = core.joint(left, right, q);
    assert.equal(neither + only + other + both, n);
    assert.equal(only + both, left.filter((v) => v <= q).length);
    assert.equal(other + both, right.filter((v) => v <= q).length);
    assert.deepEqual(core.joint(right, left, q), [neither, other, only, both]);
  }
  assert.equal(core.sideOf(5, 65535, 65534), 1); // 65535 never moves
});

test("the second model's sections are kept apart from the first one's", () => {
  const held = {},
    sections = { xy: new Uint16Array([1, 2]), "b.xy": new Uint16Array([3, 4]) };
  core.merge(held, core.parse(message({ whole: true, base: "x", meta: {}, parts: {} }, sections)));
  assert.deepEqual([...held.geometry.xy], [1, 2]);
  assert.deepEqual([...held.partner.xy], [3, 4]);
});

test("a change between two steps is their mixture, each at its own scale", () => {
  const change = Int8Array.of(0, 0, 127, -127, 127, 0),
    scale = Float32Array.of(0, 0.5, 0.2);
  const at = (k, t) => [0, 1].map(core.changeAt(change, scale, 2, { k, t }));
  const near = (got, wanted) =>
    assert.ok(
      got.every((value, i) => Math.abs(value - wanted[i]) < 1e-6),
      `${got}`,
    );
  near(at(0, 0), [0, 0]);
  near(at(0, 1), [0.5, -0.5]);
  near(at(1, 0), [0.5, -0.5]);
  near(at(1, 0.5), [0.35, -0.25]);
  near(at(1, 1), [0.2, 0]);
});

test("rows come back from their steps, however far apart", () => {
  assert.deepEqual(
    [...core.rowsOf(Uint8Array.of(1, 254, 255, 255, 2), Uint32Array.of(255, 70000))],
    [0, 254, 509, 70509, 70511],
  );
  const held = {},
    header = { base: "h", whole: true, meta: {}, parts: {} };
  core.merge(held, core.parse(message(header, { row_gaps: Uint8Array.of(4, 255), row_far: Uint32Array.of(300) })));
  assert.deepEqual([...held.geometry.row], [3, 303]);
});

test("opacity falls with the points on a panel's area, and never to nothing", () => {
  const area = 600 * 600;
  assert.equal(core.opacity(0.88, 100, 3.8, area), 0.88);
  assert.equal(core.opacity(0.88, 9970, 3.8, area), 0.88);
  const many = [2e4, 8e4, 2e5, 1e6].map((n) => core.opacity(0.88, n, 3.8, area));
  assert.ok(many.every((value, i) => value < 0.88 && value >= 0.22 && (!i || value <= many[i - 1])));
  assert.ok(Math.abs(core.opacity(0.88, 8e4, 3.8, area) / core.opacity(0.88, 2e4, 3.8, area) - 0.5) < 1e-9);
  assert.equal(core.opacity(0.88, 4e4, 3.8, 4 * area), core.opacity(0.88, 1e4, 3.8, area));
  assert.equal(core.opacity(0.88, 1e9, 3.8, area), 0.22);
  assert.equal(core.opacity(0.1, 1e6, 3.8, area), 0.1);
});
