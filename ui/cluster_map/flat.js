// The same two layers without WebGL, in Canvas2D: slower and plainer, with the same interface as layers.js.
const flat = (() => {
  function create(still, live) {
    const a = still.getContext("2d"), b = live.getContext("2d");
    let ratio = 1;
    const at = (xy, i, look) => [
      ((xy[2 * i] / 65535) * look.camera[2] + look.camera[0] + 1) * look.width * 0.5,
      (1 - (xy[2 * i + 1] / 65535) * look.camera[3] - look.camera[1]) * look.height * 0.5,
    ];
    const css = (rgb, alpha) => `rgba(${rgb.map((v) => Math.round(v * 255)).join(",")},${alpha})`;
    const byte = (rgba, i, alpha) => `rgba(${rgba[4 * i]},${rgba[4 * i + 1]},${rgba[4 * i + 2]},${alpha})`;
    const away = (marks, clusters, i, look) => marks[i] === 1 || (look.isolate >= 0 && clusters[i] !== look.isolate);
    const dot = (context, x, y, radius) => {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
    };
    // What is drawn next stays inside its panel.
    const frame = (context, { place: [left, top], width, height }) => {
      context.setTransform(ratio, 0, 0, ratio, left * ratio, top * ratio);
      context.save();
      context.beginPath();
      context.rect(0, 0, width, height);
      context.clip();
    };

    function panel() {
      let base = null, paths = null, raster = null;
      // A point in the head's interval.
      const head = (i, look) => {
        const m = paths.smallest.length, p = at(paths.paths, look.k * m + i, look), q = at(paths.paths, (look.k + 1) * m + i, look);
        return [p[0] + (q[0] - p[0]) * look.t, p[1] + (q[1] - p[1]) * look.t];
      };

      return {
        setBase(xy, clusters) { base = { xy, clusters }; },
        setPaths(xy, smallest, clusters) { paths = smallest?.length ? { paths: xy, smallest, clusters } : null; },
        setBaseLook(rgba, marks) { Object.assign(base, { rgba, marks }); },
        setPathLook(rgba, marks) { if (paths) Object.assign(paths, { rgba, marks }); },
        setPathMarks(marks) { if (paths) paths.marks = marks; },
        setRaster(value, palette) { raster = value && { ...value, palette, image: {} }; },
        drawStatic(look) {
          frame(a, look);
          const { tint, edges, trust } = look.regions ?? {};
          if (raster && (tint || edges || trust)) {
            const name = [tint, edges, trust, look.ink].join();
            raster.image[name] ??= picture(raster, look, tint, edges, trust);
            const corner = (x, y) => at([x * 65535, y * 65535], 0, look);
            const [x0, y0] = corner(look.box[0], look.box[1]), [x1, y1] = corner(look.box[2], look.box[3]);
            a.drawImage(raster.image[name], x0, y1, x1 - x0, y0 - y1);
          }
          for (let i = 0; i < base.clusters.length; i++) {
            const [x, y] = at(base.xy, i, look), marked = base.marks[i] === 2;
            if (!base.rgba[4 * i + 3] && !marked) continue;
            const alpha = (base.rgba[4 * i + 3] / 255) * look.baseAlpha * (away(base.marks, base.clusters, i, look) ? look.faded : 1);
            a.fillStyle = byte(base.rgba, i, marked ? 1 : alpha);
            const radius = look.baseSize / 2 + (marked ? 0.8 : 0);
            if (!marked) { a.fillRect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8); continue; }
            dot(a, x, y, radius);
            a.fill();
            a.strokeStyle = css(look.ink, 1);
            a.stroke();
          }
          a.restore();
        },
        drawOverlay(look) {
          if (!paths) return;
          frame(b, look);
          const { moved, q, scale, crowd, trails } = look, m = paths.smallest.length;
          const d = Math.min(1, Math.sqrt(350 / Math.max(1, crowd)));
          const shade = (i) => (away(paths.marks, paths.clusters, i, look) ? look.faded : 1);
          for (let i = Math.max(0, moved - trails); i < moved; i++) {
            if (paths.marks[i] === 3) continue;
            const age = (q - paths.smallest[i]) / 65535;
            b.strokeStyle = byte(paths.rgba, i, (0.1 * d + 0.55 * Math.sqrt(d) * Math.exp(-age / 0.05)) * 0.6 * shade(i));
            b.lineWidth = scale;
            b.beginPath();
            for (let j = 0; j <= look.k; j++) b.lineTo(...at(paths.paths, j * m + i, look));
            b.lineTo(...head(i, look));
            b.stroke();
          }
          if (!look.onlyMoved) {
            for (let i = moved; i < m; i++) {
              if (paths.marks[i] === 3) continue;
              const [x, y] = head(i, look);
              b.fillStyle = byte(paths.rgba, i, look.pathAlpha * shade(i));
              dot(b, x, y, look.pathSize / 2);
              b.fill();
            }
          }
          for (let i = 0; i < moved; i++) {
            if (paths.marks[i] === 3) continue;
            const [x, y] = head(i, look), age = (q - paths.smallest[i]) / 65535, young = Math.exp(-age / 0.07);
            const radius = (3.5 + 2.6 * Math.exp(-age / 0.016)) * scale;
            b.fillStyle = css(look.ground, (0.55 + 0.35 * young) * shade(i));
            dot(b, x, y, radius);
            b.fill();
            b.strokeStyle = css(look.ink, (0.42 * d + (0.95 - 0.42 * d) * young) * shade(i));
            b.lineWidth = paths.marks[i] === 2 ? 2 : 1;
            b.stroke();
            b.fillStyle = byte(paths.rgba, i, shade(i));
            dot(b, x, y, (1.9 + 0.6 * young) * scale);
            b.fill();
          }
          b.restore();
        },
      };
    }

    return {
      name: "canvas2d",
      panel,
      lost: () => false,
      resize(width, height, dpr) {
        ratio = dpr;
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

  // The regions as an image of one pixel per cell, row 0 at the bottom of the map.
  function picture(raster, look, tint, edges, trust) {
    const side = Math.sqrt(raster.winner.length), canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    for (let r = 0; r < side; r++) {
      for (let c = 0; c < side; c++) {
        const i = r * side + c, o = ((side - 1 - r) * side + c) * 4, w = raster.winner[i];
        const border = edges && ((c + 1 < side && raster.winner[i + 1] !== w) || (r + 1 < side && raster.winner[i + side] !== w));
        const hatch = trust && !raster.trusted[i] && (r + c) % 4 === 0;
        for (let j = 0; j < 3; j++) image.data[o + j] = border || hatch ? look.ink[j] * 255 : raster.palette[(w % 10) * 3 + j];
        image.data[o + 3] = border ? 110 : hatch ? 80 : tint ? 13 + raster.margin[i] * 0.21 : 0;
      }
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  return { create };
})();
