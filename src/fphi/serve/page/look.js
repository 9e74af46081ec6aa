// How a drawing becomes the image that the learner gets. A drawing is {strokes, picture, past}: strokes are lists of
// [x, y] from 0 to 1, a picture is {width, height, data} with four bytes a pixel, past is what undo goes back to.
"use strict";
window.fphi = window.fphi || {};

fphi.newDrawing = () => ({ strokes: [], picture: null, past: [] });
fphi.isEmpty = (drawing) => !drawing.picture && drawing.strokes.length === 0;

(() => {
  // How much of each of `size` pixels lies in each of `side` equal parts: for each part its first pixel and the shares.
  function parts(size, side) {
    const found = [];
    for (let i = 0; i < side; i++) {
      const from = (i * size) / side, to = ((i + 1) * size) / side, first = Math.floor(from), shares = [];
      for (let p = first; p < to; p++) {
        shares.push((Math.min(p + 1, to) - Math.max(p, from)) / (to - from));
      }
      found.push({ first, shares });
    }
    return found;
  }

  // Square values [grid * grid] as [side * side]: each pixel the mean over its area, or the nearest.
  function reduce(values, grid, side, how) {
    const small = new Float64Array(side * side);
    if (how === "nearest") {
      const place = (i) => Math.floor(((i + 0.5) * grid) / side);
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) small[y * side + x] = values[place(y) * grid + place(x)];
      }
      return small;
    }
    const lines = parts(grid, side);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        let sum = 0;
        lines[y].shares.forEach((a, dy) => lines[x].shares.forEach((b, dx) => {
          sum += a * b * values[(lines[y].first + dy) * grid + lines[x].first + dx];
        }));
        small[y * side + x] = sum;
      }
    }
    return small;
  }

  // Strokes in pixels, drawn with a round pen: [grid * grid] of 0 and 1.
  function drawn(strokes, grid, pen) {
    const ink = new Uint8Array(grid * grid);
    for (const stroke of strokes) {
      const radius = pen * (stroke.length === 1 ? 0.75 : 0.5); // a dot is more than a touch of the pen
      for (let i = 0; i < stroke.length; i++) {
        const [ax, ay] = stroke[i], [bx, by] = stroke[Math.min(i + 1, stroke.length - 1)];
        const long = (bx - ax) ** 2 + (by - ay) ** 2;
        const low = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
        const high = (a, b) => Math.min(grid - 1, Math.ceil(Math.max(a, b) + radius));
        for (let y = low(ay, by); y <= high(ay, by); y++) {
          for (let x = low(ax, bx); x <= high(ax, bx); x++) {
            const px = x + 0.5 - ax, py = y + 0.5 - ay;
            const at = long ? Math.min(1, Math.max(0, (px * (bx - ax) + py * (by - ay)) / long)) : 0;
            if ((px - at * (bx - ax)) ** 2 + (py - at * (by - ay)) ** 2 <= radius * radius) ink[y * grid + x] = 1;
          }
        }
      }
    }
    return ink;
  }

  // Scaled so that the longer side is the data's, and centred. What is tiny (a dot) is not blown up.
  function centred(strokes, look) {
    const points = strokes.flat(), xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const scale = look.body / Math.max(right - left, bottom - top, 0.25), middle = look.grid / 2;
    const place = ([x, y]) => [
      middle + scale * (x - (left + right) / 2),
      middle + scale * (y - (top + bottom) / 2),
    ];
    return strokes.map((stroke) => stroke.map(place));
  }

  // One channel of a picture over white, 0 to 255; channel 3 stands for grey.
  function channel(picture, c) {
    const { width, height, data } = picture, values = new Float64Array(width * height);
    for (let i = 0; i < values.length; i++) {
      const alpha = data[4 * i + 3] / 255, over = (v) => 255 + alpha * (v - 255);
      const [r, g, b] = [over(data[4 * i]), over(data[4 * i + 1]), over(data[4 * i + 2])];
      values[i] = c === 3 ? 0.299 * r + 0.587 * g + 0.114 * b : [r, g, b][c];
    }
    return values;
  }

  // A rectangle of values [width * height] as [side * side], each pixel the mean over its area.
  function squared(values, width, height, side) {
    const across = parts(width, side), down = parts(height, side), small = new Float64Array(side * side);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        let sum = 0;
        down[y].shares.forEach((a, dy) => across[x].shares.forEach((b, dx) => {
          sum += a * b * values[(down[y].first + dy) * width + across[x].first + dx];
        }));
        small[y * side + x] = sum;
      }
    }
    return small;
  }

  // The threshold of Otsu: what parts values into two lots that differ least within.
  function threshold(values) {
    const counts = new Float64Array(256);
    for (const v of values) counts[Math.max(0, Math.min(255, Math.round(v)))] += 1;
    const total = values.length, whole = counts.reduce((sum, n, v) => sum + n * v, 0);
    let below = 0, sumBelow = 0, best = -1, at = 127;
    for (let v = 0; v < 255; v++) {
      below += counts[v];
      sumBelow += v * counts[v];
      if (!below || below === total) continue;
      const apart = sumBelow / below - (whole - sumBelow) / (total - below);
      const between = below * (total - below) * apart * apart;
      if (between > best) [best, at] = [between, v + 0.5];
    }
    return at;
  }

  // The ink of a picture of a drawing, light or dark: cut out, scaled and centred as strokes are, 0 to 1.
  function inkOf(picture, look) {
    const { width, height } = picture, grey = channel(picture, 3), cut = threshold(grey);
    let dark = 0;
    for (const v of grey) dark += v < cut;
    const isInk = dark <= grey.length / 2 ? (v) => v < cut : (v) => v >= cut;
    let [left, right, top, bottom] = [width, -1, height, -1];
    for (let i = 0; i < grey.length; i++) {
      if (!isInk(grey[i])) continue;
      const x = i % width, y = (i - x) / width;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
    const values = new Float64Array(look.grid * look.grid);
    if (right < 0) return values;
    const scale = Math.max(right - left + 1, bottom - top + 1, 2) / (look.body + look.pen), few = 4;
    for (let y = 0; y < look.grid; y++) {
      for (let x = 0; x < look.grid; x++) {
        let hits = 0;
        for (let k = 0; k < few * few; k++) {
          const px = (left + right + 1) / 2 + scale * (x + ((k % few) + 0.5) / few - look.grid / 2);
          const py = (top + bottom + 1) / 2 + scale * (y + (Math.floor(k / few) + 0.5) / few - look.grid / 2);
          const [cx, cy] = [Math.floor(px), Math.floor(py)];
          hits += cx >= 0 && cy >= 0 && cx < width && cy < height && isInk(grey[cy * width + cx]);
        }
        values[y * look.grid + x] = hits / (few * few);
      }
    }
    return look.reduction === "nearest" ? values.map((v) => Number(v >= 0.35)) : values;
  }

  // The levels of each channel, 0 to 255, before the protocol's own turning over.
  function levels(drawing, look, light) {
    const all = Array.from({ length: look.channels }, (_, c) => (look.channels === 1 ? 3 : c));
    if (look.kind === "pictures" && drawing.picture) {
      const { width, height } = drawing.picture;
      return all.map((c) => squared(channel(drawing.picture, c), width, height, look.size));
    }
    const ink = drawing.picture
      ? inkOf(drawing.picture, look)
      : drawn(placed(drawing.strokes, look), look.grid, look.pen);
    const amount = reduce(ink, look.grid, look.size, look.reduction);
    const level = look.kind === "strokes" || light ? (a) => 255 * a : (a) => 255 * (1 - a);
    return all.map(() => amount.map(level));
  }

  function placed(strokes, look) {
    if (look.kind === "strokes") return centred(strokes, look);
    return strokes.map((stroke) => stroke.map(([x, y]) => [x * look.grid, y * look.grid]));
  }

  // A drawing as the learner gets it: a byte for each channel, row and column.
  fphi.toImage = (drawing, look, light) => {
    const area = look.size * look.size, image = new Uint8Array(look.channels * area);
    levels(drawing, look, light).forEach((values, c) => {
      values.forEach((v, i) => {
        const level = Math.min(255, Math.max(0, Math.round(v)));
        image[c * area + i] = look.invert ? 255 - level : level;
      });
    });
    return image;
  };

  // Numbers in 0..1 that look random and are the same for the same seed (mulberry32).
  fphi.random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };

  // A character as a simulated drawer draws it, with a slant, a size, a turn and a wobble.
  fphi.simulate = (character, random) => {
    const spread = (most) => most * (2 * random() - 1);
    const [slant, turn, wide, high] = [spread(0.2), spread(0.15), 1 + spread(0.15), 1 + spread(0.15)];
    const waves = [0, 1].map(() => ({ size: spread(0.04), often: 3 + spread(2), phase: spread(Math.PI) }));
    const bent = (v, wave) => wave.size * Math.sin((wave.often * v * Math.PI) / 2 + wave.phase);
    const place = (px, py) => {
      const u = px / 100 - 0.5, v = py / 100 - 0.5;
      const x = wide * (u + bent(v, waves[0])) - slant * v, y = high * (v + bent(u, waves[1]));
      const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
      return [0.5 + 0.6 * (cos * x - sin * y), 0.5 + 0.6 * (sin * x + cos * y)];
    };
    const strokes = character.map((flat) => {
      const [sx, sy] = [spread(0.02), spread(0.02)], stroke = [];
      for (let i = 0; i < flat.length; i += 2) {
        const [x, y] = place(flat[i], flat[i + 1]);
        stroke.push([x + sx, y + sy]);
      }
      return stroke;
    });
    return { strokes, picture: null, past: [] };
  };
})();
