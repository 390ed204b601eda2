// The two layers in WebGL 2. Static: regions and base points, redrawn on camera, colour or mark changes. Overlay: the
// attacked samples and their trails; all their positions lie on the GPU, the dial changes uniforms and byte offsets.
const layers = (() => {
  const TRAILS = 500; // newest moved samples with a trail, all panels together

  // A soft edge one pixel wide; linear, since software GL pays for every step of a fragment.
  const SOFT = `
    float soft(float inside) { return clamp(inside / dpr + .5, 0., 1.); }`;
  const POINT_OUT = `
    out vec4 outColour;
    ${SOFT}
    void main() {
      float d = length(gl_PointCoord - .5) * across, a = soft(radius - d);
      if (edge > 0.) {
        float e = .75 * soft(d - radius + .9 * dpr);
        outColour = mix(vec4(colour.rgb, 1.) * colour.a, vec4(ink, 1.), e) * a;
      } else outColour = vec4(colour.rgb, 1.) * (colour.a * a);
    }`;

  const BASE = [`#version 300 es
    layout(location = 0) in vec2 p;  layout(location = 1) in vec4 rgba;  layout(location = 2) in float mark;
    layout(location = 3) in float cluster;
    uniform vec4 camera;  uniform float size, alpha, dpr, isolate, faded;
    out vec4 colour;  out float radius, across, edge;
    void main() {
      // mark 0: as it is, 1: steps back, 2: selected
      bool away = mark == 1. || (isolate >= 0. && cluster != isolate);
      edge = mark == 2. ? 1. : 0.;
      radius = (size * .5 + .8 * edge) * dpr;
      across = 2. * radius + 2. * dpr;
      colour = vec4(rgba.rgb, edge > 0. ? 1. : rgba.a * alpha * (away ? faded : 1.));
      gl_Position = vec4(p * camera.zw + camera.xy, 0., 1.);
      gl_PointSize = across;
    }`, `#version 300 es
    precision highp float;
    in vec4 colour;  in float radius, across, edge;  uniform float dpr;  uniform vec3 ink;` + POINT_OUT];

  const MOVING = [`#version 300 es
    layout(location = 0) in vec2 p0;  layout(location = 1) in vec2 p1;  layout(location = 2) in vec4 rgba;
    layout(location = 3) in float flip;  layout(location = 4) in float mark;  layout(location = 5) in float cluster;
    uniform vec4 camera;  uniform float t, strength, calm, size, alpha, scale, dpr, isolate, faded;
    out vec4 colour;  out vec4 look;  out float radius, across, edge, ring;
    void main() {
      ring = step(flip, strength);
      bool away = mark == 1. || (isolate >= 0. && cluster != isolate);
      float shade = away ? faded : 1.;
      edge = mark == 2. ? 1. : 0.;
      if (ring > 0.) {
        // Age is the dial beyond the flip, so a still picture shows the wave front.
        float age = strength - flip, young = exp(-age / .07);
        float old = mix(.42 * calm, .95, young);
        radius = (3.5 + 2.6 * exp(-age / .016) + edge) * scale * dpr;
        look = vec4(mix(1.9, 2.5, young) * scale * dpr, mix(.55, .9, young) * shade, old * shade, shade);
        colour = vec4(rgba.rgb, 1.);
        across = 2. * (radius + (1. + .5 * edge) * dpr);
      } else {
        radius = (size * .5 + .8 * edge) * dpr;
        colour = vec4(rgba.rgb, edge > 0. ? 1. : rgba.a * alpha * shade);
        look = vec4(0.);
        across = 2. * radius + 2. * dpr;
      }
      // mark 3: left out
      gl_Position = mark == 3. ? vec4(2., 2., 0., 1.) : vec4(mix(p0, p1, t) * camera.zw + camera.xy, 0., 1.);
      gl_PointSize = across;
    }`, `#version 300 es
    precision highp float;
    in vec4 colour, look;  in float radius, across, edge, ring;
    uniform float dpr;  uniform vec3 ink, ground;
    out vec4 outColour;
    ${SOFT}
    void main() {
      float d = length(gl_PointCoord - .5) * across;
      if (ring < .5) {
        float a = soft(radius - d), e = .75 * edge * soft(d - radius + .9 * dpr);
        outColour = mix(vec4(colour.rgb, 1.) * colour.a, vec4(ink, 1.), e) * a;
        return;
      }
      float fill = soft(look.x - d) * look.w, gap = soft(radius - d) * look.y;
      float line = soft((.5 + .5 * edge) * dpr - abs(d - radius)) * look.z;
      vec4 under = vec4(ground, 1.) * gap;
      under = vec4(colour.rgb, 1.) * fill + under * (1. - fill);
      outColour = vec4(ink, 1.) * line + under * (1. - line);
    }`];

  const TRAIL = [`#version 300 es
    layout(location = 0) in vec2 p0;  layout(location = 1) in vec2 p1;  layout(location = 2) in vec4 rgba;
    layout(location = 3) in float flip;  layout(location = 4) in float cluster;  layout(location = 5) in float mark;
    uniform vec4 camera;  uniform vec2 view;
    uniform float t, part, total, strength, d, moved, trails, dpr, scale, isolate, faded;
    out vec4 colour;  out float side, halfWidth;
    void main() {
      vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID & 2) - 1.);
      vec2 a = p0 * camera.zw + camera.xy, b = mix(p0, p1, t) * camera.zw + camera.xy;
      vec2 run = (b - a) * view;
      float length_ = max(length(run), 1e-6);
      vec2 normal = vec2(-run.y, run.x) / length_;
      float along = (part + corner.x * t) / max(total, 1e-6);
      float age = strength - flip, rank = (moved - 1. - float(gl_VertexID >> 2)) / trails;
      float alpha = (.10 * d + .55 * sqrt(d) * exp(-age / .05)) * mix(.22, 1., along) * (1. - smoothstep(.5, 1., rank));
      if (mark == 1. || (isolate >= 0. && cluster != isolate)) alpha *= faded;
      halfWidth = mix(.6, 1.6, along) * .5 * scale * dpr;
      side = corner.y * (halfWidth + .5 * dpr);
      vec2 at = mix(a, b, corner.x) + normal * side / view;
      // What nobody would see is not drawn: trails are most of a frame's work.
      gl_Position = length_ < 1e-4 || alpha < .01 || mark == 3. ? vec4(2., 2., 0., 1.) : vec4(at, 0., 1.);
      colour = vec4(rgba.rgb, 1.) * alpha;
    }`, `#version 300 es
    precision highp float;
    in vec4 colour;  in float side, halfWidth;  uniform float dpr;  out vec4 outColour;
    ${SOFT}
    void main() { outColour = colour * soft(halfWidth - abs(side)); }`];

  // Regions: in the square between four cell centres, each cluster's weight is the bilinear sum of the margins of
  // the cells it wins. Margins vanish at a border, so the winner's line runs smoothly between cells.
  const REGION = [`#version 300 es
    layout(location = 0) in vec2 corner;  uniform vec4 camera, box;  out vec2 at;
    void main() { at = corner;  gl_Position = vec4(mix(box.xy, box.zw, corner) * camera.zw + camera.xy, 0., 1.); }`,
  `#version 300 es
    precision highp float;
    in vec2 at;
    uniform sampler2D winner, margin, trusted, palette;  uniform float cells, tint, edges, trust, dpr;
    uniform vec3 ink;  uniform vec2 perCell;  out vec4 outColour;
    void main() {
      vec2 place = at * cells - .5, base = floor(place), f = place - base;
      float names[4], weights[4], steep[4];  float safe = 0., shade = 0.;
      for (int i = 0; i < 4; i++) {
        vec2 o = vec2(float(i & 1), float(i >> 1)), cell = clamp(base + o, vec2(0.), vec2(cells - 1.));
        float w = mix(1. - f.x, f.x, o.x) * mix(1. - f.y, f.y, o.y);
        vec2 uv = (cell + .5) / cells;
        names[i] = floor(texture(winner, uv).r * 255. + .5);
        float m = texture(margin, uv).r;
        steep[i] = m + .02;  weights[i] = w * steep[i];  shade += w * m;  safe += w * texture(trusted, uv).r * 255.;
      }
      float best = -1., other = -1., first = 0., second = 0.;
      for (int i = 0; i < 4; i++) {
        float sum = 0.;
        for (int j = 0; j < 4; j++) if (names[j] == names[i]) sum += weights[j];
        if (names[i] == best) continue;
        if (sum > first) { second = first;  other = best;  first = sum;  best = names[i]; }
        else if (sum > second) { second = sum;  other = names[i]; }
      }
      // Distance to the border in pixels: the gap over the length of its own gradient, inside this square of cells.
      vec2 slope = vec2(0.);
      for (int j = 0; j < 4; j++) {
        vec2 o = vec2(float(j & 1), float(j >> 1));
        float sign = names[j] == best ? 1. : names[j] == other ? -1. : 0.;
        slope += sign * steep[j] * vec2((2. * o.x - 1.) * mix(1. - f.y, f.y, o.y), (2. * o.y - 1.) * mix(1. - f.x, f.x, o.x));
      }
      float away = (first - second) / max(length(slope / perCell), 1e-6);
      float line = other >= 0. ? edges * (1. - smoothstep(.1 * dpr, 1.1 * dpr, away)) : 0.;
      vec3 hue = texture(palette, vec2((mod(best, 10.) + .5) / 10., .5)).rgb;
      vec4 colour = vec4(hue, 1.) * (tint * mix(.05, .26, shade));
      colour = vec4(ink, 1.) * (line * .5) + colour * (1. - line * .5);
      float hatch = abs(fract((gl_FragCoord.x + gl_FragCoord.y) / (8. * dpr)) - .5) * 8. * dpr;
      float hatched = trust * (1. - smoothstep(.45, .55, safe)) * (1. - smoothstep(.3 * dpr, .9 * dpr, hatch)) * .24;
      outColour = vec4(ink, 1.) * hatched + colour * (1. - hatched);
    }`];

  function program(gl, [vertex, fragment]) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
      }
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    const uniforms = {};
    const count = gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS) ?? 0;
    for (let i = 0; i < count; i++) {
      const { name } = gl.getActiveUniform(made, i);
      uniforms[name] = gl.getUniformLocation(made, name);
    }
    return { made, uniforms };
  }

  // Sets uniforms by the length of their value; integers go to samplers.
  function set(gl, { uniforms }, values) {
    for (const [name, value] of Object.entries(values)) {
      const at = uniforms[name];
      if (at === undefined) continue;
      if (typeof value === "number") gl.uniform1f(at, value);
      else gl[`uniform${value.length}fv`](at, value);
    }
  }

  const OPTIONS = { alpha: true, antialias: false, premultipliedAlpha: true, powerPreference: "high-performance" };

  // A renderer over two canvases, or null where there is no WebGL 2.
  function create(still, live) {
    const a = still.getContext("webgl2", OPTIONS);
    const b = a && live.getContext("webgl2", OPTIONS);
    if (!b) return null;
    for (const gl of [a, b]) {
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    }
    const base = program(a, BASE), region = program(a, REGION), moving = program(b, MOVING), trail = program(b, TRAIL);
    const point = (gl, at, buffer, size, type, normalised, offset = 0) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, normalised, 0, offset);
    };
    const only = (gl, used) => { for (let i = used; i < 6; i++) gl.disableVertexAttribArray(i); };
    // What is drawn next stays inside its panel: a point at the edge is wider than its centre.
    const frame = (gl, canvas, { place: [left, top], width, height, dpr }) => {
      const box = [left * dpr, canvas.height - (top + height) * dpr, width * dpr, height * dpr].map(Math.round);
      gl.enable(gl.SCISSOR_TEST);
      gl.viewport(...box);
      gl.scissor(...box);
    };
    // One map's buffers, drawn at its place in both canvases.
    function panel() {
      const onA = {}, onB = {}, textures = {};
      const upload = (gl, into, name, array, usage = gl.STATIC_DRAW) => {
        into[name] ??= gl.createBuffer();
        gl.bindBuffer(gl.ARRAY_BUFFER, into[name]);
        gl.bufferData(gl.ARRAY_BUFFER, array, usage);
      };
      upload(a, onA, "square", new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]));
      // Each value four times over, `size` entries at a time: the corners of a trail's quads. Instances would say the
      // same in less memory, but software GL draws each of them on its own, five times slower.
      const corners = (name, array, size) => {
        const wide = new array.constructor(array.length * 4);
        for (let i = 0; i < array.length; i += size) {
          for (let j = 0; j < 4 * size; j++) wide[4 * i + j] = array[i + (j % size)];
        }
        upload(b, onB, `${name}4`, wide);
      };
      const texture = (name, width, height, format, inner, data) => {
        textures[name] ??= a.createTexture();
        a.bindTexture(a.TEXTURE_2D, textures[name]);
        a.texImage2D(a.TEXTURE_2D, 0, inner, width, height, 0, format, a.UNSIGNED_BYTE, data);
        for (const [key, value] of [["MIN_FILTER", "NEAREST"], ["MAG_FILTER", "NEAREST"], ["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"]]) {
          a.texParameteri(a.TEXTURE_2D, a[`TEXTURE_${key}`], a[value]);
        }
      };
      let n = 0, m = 0, cells = 0;

      return {
        setBase(xy, clusters) {
          n = clusters.length;
          upload(a, onA, "xy", xy);
          upload(a, onA, "clusters", clusters);
        },
        setPaths(paths, smallest, clusters) {
          m = smallest ? smallest.length : 0;
          if (!m) return;
          upload(b, onB, "paths", paths);
          upload(b, onB, "smallest", smallest);
          upload(b, onB, "clusters", clusters.subarray(0, m));
          corners("paths", paths, 2);
          corners("smallest", smallest, 1);
          corners("clusters", clusters.subarray(0, m), 1);
          const quads = new Uint32Array(6 * m);
          for (let i = 0; i < m; i++) quads.set([0, 1, 2, 2, 1, 3].map((corner) => 4 * i + corner), 6 * i);
          onB.quads ??= b.createBuffer();
          b.bindBuffer(b.ELEMENT_ARRAY_BUFFER, onB.quads);
          b.bufferData(b.ELEMENT_ARRAY_BUFFER, quads, b.STATIC_DRAW);
        },
        // rgba: four bytes a point, alpha is a factor; marks: 0 plain, 1 steps back, 2 selected, 3 left out.
        setBaseLook(rgba, marks) {
          upload(a, onA, "rgba", rgba);
          upload(a, onA, "marks", marks);
        },
        setPathLook(rgba, marks) {
          if (!m) return;
          upload(b, onB, "rgba", rgba);
          corners("rgba", rgba, 4);
          this.setPathMarks(marks);
        },
        setPathMarks(marks) {
          if (!m) return;
          upload(b, onB, "marks", marks);
          corners("marks", marks, 1);
        },
        setRaster(raster, palette) {
          cells = raster ? Math.sqrt(raster.winner.length) : 0;
          if (!cells) return;
          for (const name of ["winner", "margin", "trusted"]) {
            texture(name, cells, cells, a.RED, a.R8, raster[name]);
          }
          texture("palette", 10, 1, a.RGB, a.RGB8, palette);
        },
        drawStatic(look) {
          frame(a, still, look);
          const { regions } = look;
          if (cells && regions && (regions.tint || regions.edges || regions.trust)) {
            a.useProgram(region.made);
            ["winner", "margin", "trusted", "palette"].forEach((name, i) => {
              a.activeTexture(a.TEXTURE0 + i);
              a.bindTexture(a.TEXTURE_2D, textures[name]);
              a.uniform1i(region.uniforms[name], i);
            });
            const perCell = [0, 1].map((i) => ((look.box[i + 2] - look.box[i]) * look.camera[i + 2] * [look.width, look.height][i] * look.dpr) / 2 / cells);
            set(a, region, { ...look, ...regions, cells, perCell });
            point(a, 0, onA.square, 2, a.FLOAT, false);
            only(a, 1);
            a.drawArrays(a.TRIANGLE_STRIP, 0, 4);
          }
          if (!n) return;
          a.useProgram(base.made);
          set(a, base, { ...look, size: look.baseSize, alpha: look.baseAlpha });
          point(a, 0, onA.xy, 2, a.UNSIGNED_SHORT, true);
          point(a, 1, onA.rgba, 4, a.UNSIGNED_BYTE, true);
          point(a, 2, onA.marks, 1, a.UNSIGNED_BYTE, false);
          point(a, 3, onA.clusters, 1, a.UNSIGNED_BYTE, false);
          only(a, 4);
          a.drawArrays(a.POINTS, 0, n);
        },
        drawOverlay(look) {
          if (!m) return;
          frame(b, live, look);
          const { k, t, moved, q, crowd, trails } = look;
          // Half a unit above q, so that a flip at q itself counts whatever the rounding of normalised shorts.
          const strength = (q + 0.5) / 65535, d = Math.min(1, Math.sqrt(350 / Math.max(1, crowd)));
          const common = { ...look, strength };
          const first = Math.max(0, moved - trails), count = moved - first;
          if (count) {
            b.useProgram(trail.made);
            set(b, trail, { ...common, d, total: k + t, view: [(look.width * look.dpr) / 2, (look.height * look.dpr) / 2] });
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
          b.useProgram(moving.made);
          set(b, moving, { ...common, calm: d, size: look.pathSize, alpha: look.pathAlpha });
          point(b, 0, onB.paths, 2, b.UNSIGNED_SHORT, true, k * m * 4);
          point(b, 1, onB.paths, 2, b.UNSIGNED_SHORT, true, (k + 1) * m * 4);
          point(b, 2, onB.rgba, 4, b.UNSIGNED_BYTE, true);
          point(b, 3, onB.smallest, 1, b.UNSIGNED_SHORT, true);
          point(b, 4, onB.marks, 1, b.UNSIGNED_BYTE, false);
          point(b, 5, onB.clusters, 1, b.UNSIGNED_BYTE, false);
          if (!look.onlyMoved && moved < m) b.drawArrays(b.POINTS, moved, m - moved);
          if (moved) b.drawArrays(b.POINTS, 0, moved);
        },
      };
    }

    return {
      name: "webgl2",
      panel,
      lost: () => a.isContextLost() || b.isContextLost(),
      resize(width, height, dpr) {
        for (const canvas of [still, live]) {
          canvas.width = Math.round(width * dpr);
          canvas.height = Math.round(height * dpr);
        }
      },
      // Before a frame: all panels of a layer are drawn anew together.
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

  return { create, TRAILS };
})();
