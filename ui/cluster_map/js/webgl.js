// The two layers in WebGL 2. Static: regions and base points, redrawn on camera, colour or mark changes. Overlay: the
// attacked samples and their trails; all their positions lie on the GPU, the dial changes uniforms and byte offsets.

import { BASE, MOVING, REGION, TRAIL } from "./shaders.js";

/** @import { Look, MovingLook, PanelRenderer, Raster, Renderer } from "./types.js" */
/** @typedef {WebGL2RenderingContext} Gl */
/** @typedef {{ made: WebGLProgram, uniforms: Record<string, WebGLUniformLocation> }} Program */
/** @typedef {NonNullable<ReturnType<typeof buildScene>>} Scene both canvases and what draws in them */
/** @typedef {ReturnType<typeof bare>} Buffers one map's */

const OPTIONS = { alpha: true, antialias: false, premultipliedAlpha: true, powerPreference: "high-performance" };
/** @type {(keyof Raster)[]} */
const RASTER = ["winner", "margin", "trusted"];

/**
 * A renderer over two canvases, or null where there is no WebGL 2.
 * @param {HTMLCanvasElement} still
 * @param {HTMLCanvasElement} live
 * @returns {Renderer | null}
 */
export function create(still, live) {
  const scene = buildScene(still, live);
  if (!scene) return null;
  const { a, b } = scene;
  return {
    name: "webgl2",
    panel: () => panel(scene),
    lost: () => a.isContextLost() || b.isContextLost(),
    resize(width, height, dpr) {
      for (const canvas of [still, live]) {
        canvas.width = Math.round(width * dpr);
        canvas.height = Math.round(height * dpr);
      }
    },
    clear(stillToo) {
      for (const gl of stillToo ? [a, b] : [b]) {
        gl.disable(gl.SCISSOR_TEST);
        gl.clearColor(0, 0, 0, 0);
        gl.clear(gl.COLOR_BUFFER_BIT);
      }
    },
    finish() {
      // A read waits for the software GL as finish() alone does not in every browser.
      b.finish();
      b.readPixels(0, 0, 1, 1, b.RGBA, b.UNSIGNED_BYTE, new Uint8Array(4));
    },
    free() {
      for (const gl of [a, b]) gl.getExtension("WEBGL_lose_context")?.loseContext();
    },
  };
}

/**
 * @param {HTMLCanvasElement} still
 * @param {HTMLCanvasElement} live
 */
function buildScene(still, live) {
  const context = (/** @type {HTMLCanvasElement} */ canvas) =>
    /** @type {Gl | null} */ (canvas.getContext("webgl2", OPTIONS));
  const a = context(still);
  const b = a && context(live);
  if (!a || !b) return null;
  for (const gl of [a, b]) {
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }
  const [base, region, moving, trail] = [program(a, BASE), program(a, REGION), program(b, MOVING), program(b, TRAIL)];
  return { still, live, a, b, base, region, moving, trail };
}

/**
 * @param {Gl} gl
 * @param {string[]} sources of the vertex and the fragment shader
 * @returns {Program}
 */
function program(gl, [vertex, fragment]) {
  const made = gl.createProgram();
  for (const [kind, source] of /** @type {const} */ ([
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ])) {
    const shader = gl.createShader(kind);
    if (!shader) continue; // the context is lost; once it is restored all is made anew
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  /** @type {Record<string, WebGLUniformLocation>} */
  const uniforms = {};
  const count = gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS) ?? 0;
  for (let i = 0; i < count; i++) {
    const name = gl.getActiveUniform(made, i)?.name ?? "";
    const at = gl.getUniformLocation(made, name);
    if (at) uniforms[name] = at;
  }
  return { made, uniforms };
}

/**
 * Sets those of the values that are uniforms, by their length; textures are bound elsewhere.
 * @param {Gl} gl
 * @param {Program} program
 * @param {object} values
 */
function set(gl, { uniforms }, values) {
  for (const [name, value] of Object.entries(values)) {
    const at = uniforms[name];
    if (at === undefined) continue;
    if (typeof value === "number") gl.uniform1f(at, value);
    else if (value.length === 2) gl.uniform2fv(at, value);
    else if (value.length === 3) gl.uniform3fv(at, value);
    else gl.uniform4fv(at, value);
  }
}

/**
 * Reads a vertex attribute from a buffer.
 * @param {Gl} gl
 * @param {number} at
 * @param {WebGLBuffer} buffer
 * @param {number} size
 * @param {number} type
 * @param {boolean} normalised
 * @param {number} offset
 */
function point(gl, at, buffer, size, type, normalised, offset = 0) {
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.enableVertexAttribArray(at);
  gl.vertexAttribPointer(at, size, type, normalised, 0, offset);
}

/**
 * Leaves only the first `used` vertex attributes on.
 * @param {Gl} gl
 * @param {number} used
 */
function only(gl, used) {
  for (let i = used; i < 6; i++) gl.disableVertexAttribArray(i);
}

/**
 * What is drawn next stays inside its panel: a point at the edge is wider than its centre.
 * @param {Gl} gl
 * @param {HTMLCanvasElement} canvas
 * @param {Look} look
 */
function frame(gl, canvas, { place: [left, top], width, height, dpr }) {
  const place = [left * dpr, canvas.height - (top + height) * dpr, width * dpr, height * dpr];
  const [x, y, w, h] = place.map(Math.round);
  gl.enable(gl.SCISSOR_TEST);
  gl.viewport(x, y, w, h);
  gl.scissor(x, y, w, h);
}

function bare() {
  return {
    onA: /** @type {Record<string, WebGLBuffer>} */ ({}),
    onB: /** @type {Record<string, WebGLBuffer>} */ ({}),
    textures: /** @type {Record<string, WebGLTexture>} */ ({}),
    n: 0,
    m: 0,
    cells: 0,
  };
}

/**
 * @param {Gl} gl
 * @param {Record<string, WebGLBuffer>} into
 * @param {string} name
 * @param {Uint8Array | Uint16Array | Float32Array} array
 */
function upload(gl, into, name, array) {
  into[name] ??= gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, into[name]);
  gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
}

/**
 * Each value four times over, `size` entries at a time: the corners of a trail's quads. Instances would say the same
 * in less memory, but software GL draws each of them on its own, five times slower.
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {string} name
 * @param {Uint8Array | Uint16Array} array
 * @param {number} size
 */
function uploadCorners({ b }, { onB }, name, array, size) {
  const count = array.length * 4;
  const wide = array instanceof Uint16Array ? new Uint16Array(count) : new Uint8Array(count);
  for (let i = 0; i < array.length; i += size) {
    for (let j = 0; j < 4 * size; j++) wide[4 * i + j] = array[i + (j % size)];
  }
  upload(b, onB, `${name}4`, wide);
}

/**
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {string} name
 * @param {[width: number, height: number]} size
 * @param {[format: number, inner: number]} format
 * @param {Uint8Array} data
 */
function texture({ a }, { textures }, name, [width, height], [format, inner], data) {
  textures[name] ??= a.createTexture();
  a.bindTexture(a.TEXTURE_2D, textures[name]);
  a.texImage2D(a.TEXTURE_2D, 0, inner, width, height, 0, format, a.UNSIGNED_BYTE, data);
  for (const filter of [a.TEXTURE_MIN_FILTER, a.TEXTURE_MAG_FILTER]) a.texParameteri(a.TEXTURE_2D, filter, a.NEAREST);
  for (const wrap of [a.TEXTURE_WRAP_S, a.TEXTURE_WRAP_T]) a.texParameteri(a.TEXTURE_2D, wrap, a.CLAMP_TO_EDGE);
}

/**
 * One map's buffers, drawn at its place in both canvases.
 * @param {Scene} scene
 * @returns {PanelRenderer}
 */
function panel(scene) {
  const { a, b } = scene;
  const buffers = bare();
  const { onA, onB } = buffers;
  upload(a, onA, "square", new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]));
  return {
    setBase(xy, clusters) {
      buffers.n = clusters.length;
      upload(a, onA, "xy", xy);
      upload(a, onA, "clusters", clusters);
    },
    setPaths(path) {
      buffers.m = path ? path.smallest.length : 0;
      if (!path || !buffers.m) return;
      const clusters = path.clusters.subarray(0, buffers.m);
      upload(b, onB, "paths", path.xy);
      upload(b, onB, "smallest", path.smallest);
      upload(b, onB, "clusters", clusters);
      uploadCorners(scene, buffers, "paths", path.xy, 2);
      uploadCorners(scene, buffers, "smallest", path.smallest, 1);
      uploadCorners(scene, buffers, "clusters", clusters, 1);
      uploadQuads(scene, buffers);
    },
    setBaseLook(rgba, marks) {
      upload(a, onA, "rgba", rgba);
      upload(a, onA, "marks", marks);
    },
    setPathLook(rgba, marks) {
      if (!buffers.m) return;
      upload(b, onB, "rgba", rgba);
      uploadCorners(scene, buffers, "rgba", rgba, 4);
      this.setPathMarks(marks);
    },
    setPathMarks(marks) {
      if (!buffers.m) return;
      upload(b, onB, "marks", marks);
      uploadCorners(scene, buffers, "marks", marks, 1);
    },
    setRaster(raster, palette) {
      buffers.cells = raster ? Math.sqrt(raster.winner.length) : 0;
      if (!raster || !buffers.cells) return;
      const { cells } = buffers;
      for (const name of RASTER) texture(scene, buffers, name, [cells, cells], [a.RED, a.R8], raster[name]);
      texture(scene, buffers, "palette", [10, 1], [a.RGB, a.RGB8], palette);
    },
    drawStatic(look) {
      frame(a, scene.still, look);
      drawRegions(scene, buffers, look);
      drawBase(scene, buffers, look);
    },
    drawOverlay(look) {
      if (!buffers.m) return;
      frame(b, scene.live, look);
      // Half a unit above q, so that a flip at q itself counts whatever the rounding of normalised shorts.
      const strength = (look.q + 0.5) / 65535;
      const calm = Math.min(1, Math.sqrt(350 / Math.max(1, look.crowd)));
      drawTrails(scene, buffers, { ...look, strength }, calm);
      drawMoving(scene, buffers, { ...look, strength }, calm);
    },
  };
}

/**
 * The corners of a trail's quads as two triangles each.
 * @param {Scene} scene
 * @param {Buffers} buffers
 */
function uploadQuads({ b }, { onB, m }) {
  const quads = new Uint32Array(6 * m);
  const corners = [0, 1, 2, 2, 1, 3];
  for (let i = 0; i < m; i++) for (let j = 0; j < 6; j++) quads[6 * i + j] = 4 * i + corners[j];
  onB.quads ??= b.createBuffer();
  b.bindBuffer(b.ELEMENT_ARRAY_BUFFER, onB.quads);
  b.bufferData(b.ELEMENT_ARRAY_BUFFER, quads, b.STATIC_DRAW);
}

/**
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {Look} look
 */
function drawRegions({ a, region }, { onA, textures, cells }, look) {
  const { regions, box } = look;
  if (!cells || !box || !(regions?.tint || regions?.edges || regions?.trust)) return;
  a.useProgram(region.made);
  [...RASTER, "palette"].forEach((name, i) => {
    a.activeTexture(a.TEXTURE0 + i);
    a.bindTexture(a.TEXTURE_2D, textures[name]);
    a.uniform1i(region.uniforms[name], i);
  });
  const size = [look.width, look.height];
  const perCell = size.map((px, i) => ((box[i + 2] - box[i]) * look.camera[i + 2] * px * look.dpr) / 2 / cells);
  set(a, region, { ...look, ...regions, cells, perCell });
  point(a, 0, onA.square, 2, a.FLOAT, false);
  only(a, 1);
  a.drawArrays(a.TRIANGLE_STRIP, 0, 4);
}

/**
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {Look} look
 */
function drawBase({ a, base }, { onA, n }, look) {
  if (!n) return;
  a.useProgram(base.made);
  set(a, base, { ...look, size: look.baseSize, alpha: look.baseAlpha });
  point(a, 0, onA.xy, 2, a.UNSIGNED_SHORT, true);
  point(a, 1, onA.rgba, 4, a.UNSIGNED_BYTE, true);
  point(a, 2, onA.marks, 1, a.UNSIGNED_BYTE, false);
  point(a, 3, onA.clusters, 1, a.UNSIGNED_BYTE, false);
  only(a, 4);
  a.drawArrays(a.POINTS, 0, n);
}

/**
 * The ways of those that moved last, step by step.
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {MovingLook} look
 * @param {number} d how plainly a trail shows: the less the more there are
 */
function drawTrails({ b, trail }, { onB, m }, look, d) {
  const { k, t, moved, trails, width, height, dpr } = look;
  const first = Math.max(0, moved - trails);
  const count = moved - first;
  if (!count) return;
  b.useProgram(trail.made);
  set(b, trail, { ...look, d, total: k + t, view: [(width * dpr) / 2, (height * dpr) / 2] });
  point(b, 2, onB.rgba4, 4, b.UNSIGNED_BYTE, true);
  point(b, 3, onB.smallest4, 1, b.UNSIGNED_SHORT, true);
  point(b, 4, onB.clusters4, 1, b.UNSIGNED_BYTE, false);
  point(b, 5, onB.marks4, 1, b.UNSIGNED_BYTE, false);
  b.bindBuffer(b.ELEMENT_ARRAY_BUFFER, onB.quads);
  for (let j = 0; j <= k; j++) {
    if (j === k && t === 0) break;
    point(b, 0, onB.paths4, 2, b.UNSIGNED_SHORT, true, j * m * 16);
    point(b, 1, onB.paths4, 2, b.UNSIGNED_SHORT, true, (j + 1) * m * 16);
    set(b, trail, { part: j, t: j === k ? t : 1 });
    b.drawElements(b.TRIANGLES, 6 * count, b.UNSIGNED_INT, 24 * first);
  }
}

/**
 * The attacked samples between two steps, those that moved on top.
 * @param {Scene} scene
 * @param {Buffers} buffers
 * @param {MovingLook} look
 * @param {number} calm
 */
function drawMoving({ b, moving }, { onB, m }, look, calm) {
  const { k, moved } = look;
  b.useProgram(moving.made);
  set(b, moving, { ...look, calm, size: look.pathSize, alpha: look.pathAlpha });
  point(b, 0, onB.paths, 2, b.UNSIGNED_SHORT, true, k * m * 4);
  point(b, 1, onB.paths, 2, b.UNSIGNED_SHORT, true, (k + 1) * m * 4);
  point(b, 2, onB.rgba, 4, b.UNSIGNED_BYTE, true);
  point(b, 3, onB.smallest, 1, b.UNSIGNED_SHORT, true);
  point(b, 4, onB.marks, 1, b.UNSIGNED_BYTE, false);
  point(b, 5, onB.clusters, 1, b.UNSIGNED_BYTE, false);
  if (!look.onlyMoved && moved < m) b.drawArrays(b.POINTS, moved, m - moved);
  if (moved) b.drawArrays(b.POINTS, 0, moved);
}
