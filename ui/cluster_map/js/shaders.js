// The shaders of webgl.js: each a vertex and a fragment program in GLSL.

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

export const BASE = [
  `#version 300 es
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
  }`,
  `#version 300 es
  precision highp float;
  in vec4 colour;  in float radius, across, edge;  uniform float dpr;  uniform vec3 ink;${POINT_OUT}`,
];

export const MOVING = [
  `#version 300 es
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
  }`,
  `#version 300 es
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
  }`,
];

export const TRAIL = [
  `#version 300 es
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
  }`,
  `#version 300 es
  precision highp float;
  in vec4 colour;  in float side, halfWidth;  uniform float dpr;  out vec4 outColour;
  ${SOFT}
  void main() { outColour = colour * soft(halfWidth - abs(side)); }`,
];

// Regions: in the square between four cell centres, each cluster's weight is the bilinear sum of the margins of
// the cells it wins. Margins vanish at a border, so the winner's line runs smoothly between cells.
export const REGION = [
  `#version 300 es
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
      slope += sign * steep[j]
        * vec2((2. * o.x - 1.) * mix(1. - f.y, f.y, o.y), (2. * o.y - 1.) * mix(1. - f.x, f.x, o.x));
    }
    float away = (first - second) / max(length(slope / perCell), 1e-6);
    float line = other >= 0. ? edges * (1. - smoothstep(.1 * dpr, 1.1 * dpr, away)) : 0.;
    vec3 hue = texture(palette, vec2((mod(best, 10.) + .5) / 10., .5)).rgb;
    vec4 colour = vec4(hue, 1.) * (tint * mix(.05, .26, shade));
    colour = vec4(ink, 1.) * (line * .5) + colour * (1. - line * .5);
    float hatch = abs(fract((gl_FragCoord.x + gl_FragCoord.y) / (8. * dpr)) - .5) * 8. * dpr;
    float hatched = trust * (1. - smoothstep(.45, .55, safe)) * (1. - smoothstep(.3 * dpr, .9 * dpr, hatch)) * .24;
    outColour = vec4(ink, 1.) * hatched + colour * (1. - hatched);
  }`,
];
