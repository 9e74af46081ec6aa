// Where answers come from: this file. The forward pass of a learner that compares, in numbers of double precision.
"use strict";

(() => {
  const learned = JSON.parse(document.getElementById("learned").textContent);
  const weights = decoded(learned.weights, learned.bytes);

  // Numbers of 4 bytes, or of the upper 3 of these.
  function decoded(text, bytes) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), count = packed.length / bytes;
    const whole = new Uint8Array(4 * count);
    for (let i = 0; i < count; i++) {
      for (let b = 0; b < bytes; b++) whole[4 * i + 4 - bytes + b] = packed[bytes * i + b];
    }
    const view = new DataView(whole.buffer);
    return Float64Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
  }

  const numbers = ([begin, count]) => weights.subarray(begin, begin + count);

  // What a layer makes of maps {data, n, c, h, w}; batch norms that take statistics of the batch use its first `rows`.
  const LAYERS = {
    conv(x, { weight, bias, outputs, size, stride, padding }) {
      const h = Math.floor((x.h + 2 * padding - size) / stride) + 1, w = Math.floor((x.w + 2 * padding - size) / stride) + 1;
      const out = maps(x.n, outputs, h, w), k = numbers(weight), b = bias && numbers(bias);
      for (let n = 0; n < x.n; n++) {
        for (let o = 0; o < outputs; o++) {
          const to = (n * outputs + o) * h * w;
          if (b) out.data.fill(b[o], to, to + h * w);
          for (let i = 0; i < x.c; i++) {
            const from = (n * x.c + i) * x.h * x.w;
            for (let ky = 0; ky < size; ky++) {
              for (let kx = 0; kx < size; kx++) {
                const value = k[((o * x.c + i) * size + ky) * size + kx];
                const first = Math.max(0, Math.ceil((padding - kx) / stride));
                const last = Math.min(w - 1, Math.floor((x.w - 1 + padding - kx) / stride));
                for (let y = 0; y < h; y++) {
                  const row = stride * y + ky - padding;
                  if (row < 0 || row >= x.h) continue;
                  const line = from + row * x.w + kx - padding, target = to + y * w;
                  for (let p = first; p <= last; p++) out.data[target + p] += value * x.data[line + stride * p];
                }
              }
            }
          }
        }
      }
      return out;
    },
    norm(x, { mode, mean, variance, weight, bias, eps }, rows) {
      const out = maps(x.n, x.c, x.h, x.w), area = x.h * x.w;
      for (let c = 0; c < x.c; c++) {
        const [m, v] = mode === "running" ? [numbers(mean)[c], numbers(variance)[c]] : moments(x, c, rows);
        const scale = (weight ? numbers(weight)[c] : 1) / Math.sqrt(v + eps), shift = (bias ? numbers(bias)[c] : 0) - m * scale;
        for (let n = 0; n < x.n; n++) {
          const from = (n * x.c + c) * area;
          for (let i = from; i < from + area; i++) out.data[i] = scale * x.data[i] + shift;
        }
      }
      return out;
    },
    relu: (x) => mapped(x, (v) => Math.max(v, 0)),
    sigmoid: (x) => mapped(x, (v) => 1 / (1 + Math.exp(-v))),
    pool(x) {
      const [h, w] = [x.h >> 1, x.w >> 1], out = maps(x.n, x.c, h, w);
      for (let m = 0; m < x.n * x.c; m++) {
        for (let y = 0; y < h; y++) {
          for (let p = 0; p < w; p++) {
            const at = m * x.h * x.w + 2 * y * x.w + 2 * p, d = x.data;
            out.data[(m * h + y) * w + p] = Math.max(d[at], d[at + 1], d[at + x.w], d[at + x.w + 1]);
          }
        }
      }
      return out;
    },
    mean(x) {
      const out = maps(x.n, x.c, 1, 1), area = x.h * x.w;
      for (let m = 0; m < x.n * x.c; m++) {
        let sum = 0;
        for (let i = m * area; i < (m + 1) * area; i++) sum += x.data[i];
        out.data[m] = sum / area;
      }
      return out;
    },
    flatten: (x) => ({ data: x.data, n: x.n, c: x.c * x.h * x.w, h: 1, w: 1 }),
    linear(x, { weight, bias, outputs }) {
      const out = maps(x.n, outputs, 1, 1), k = numbers(weight), b = bias && numbers(bias);
      for (let n = 0; n < x.n; n++) {
        for (let o = 0; o < outputs; o++) {
          let sum = b ? b[o] : 0;
          for (let i = 0; i < x.c; i++) sum += k[o * x.c + i] * x.data[n * x.c + i];
          out.data[n * outputs + o] = sum;
        }
      }
      return out;
    },
  };

  function maps(n, c, h, w) {
    return { data: new Float64Array(n * c * h * w), n, c, h, w };
  }

  function mapped(x, f) {
    return { ...x, data: x.data.map(f) };
  }

  // Mean and variance of a channel over the first rows of a batch.
  function moments(x, c, rows) {
    const area = x.h * x.w;
    let sum = 0, squares = 0;
    const each = (f) => {
      for (let n = 0; n < rows; n++) {
        const from = (n * x.c + c) * area;
        for (let i = from; i < from + area; i++) f(x.data[i]);
      }
    };
    each((v) => { sum += v; });
    const mean = sum / (rows * area);
    each((v) => { squares += (v - mean) ** 2; });
    return [mean, squares / (rows * area)];
  }

  const pass = (layers, x, rows = x.n) => layers.reduce((now, layer) => LAYERS[layer.kind](now, layer, rows), x);

  // Images (bytes) as maps of 0 to 1.
  function inputs(images) {
    const { size, channels } = learned.description.look, x = maps(images.length, channels, size, size);
    images.forEach((image, n) => image.forEach((v, i) => { x.data[n * image.length + i] = Math.fround(v / 255); }));
    return x;
  }

  // The rows of a batch, as a list of batches of one.
  function rowsOf(x) {
    const each = x.data.length / x.n;
    return Array.from({ length: x.n }, (_, n) => ({ ...x, n: 1, data: x.data.subarray(n * each, (n + 1) * each) }));
  }

  const known = new WeakMap(); // embeddings of images, where each depends on its image alone

  function embedAlone(image) {
    if (!known.has(image)) known.set(image, pass(learned.network, inputs([image])));
    return known.get(image);
  }

  // Embeddings of the support set and of the question, which is embedded together with it where statistics are the batch's.
  function embed(support, question) {
    const mode = learned.network.map((layer) => layer.mode).find(Boolean) || "running", count = support.length;
    if (mode === "running") return [support.map(embedAlone), embedAlone(question)];
    const together = inputs([...support, question]);
    if (mode === "support") {
      const rows = rowsOf(pass(learned.network, together, count));
      return [rows.slice(0, count), rows[count]];
    }
    return [rowsOf(pass(learned.network, inputs(support))), rowsOf(pass(learned.network, together))[count]];
  }

  const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);

  function unit(a) {
    const length = Math.max(Math.sqrt(dot(a, a)), 1e-12);
    return a.map((v) => v / length);
  }

  // The sum or the mean of each class's vectors.
  function perClass(vectors, labels, share) {
    return Array.from({ length: Math.max(...labels) + 1 }, (_, c) => {
      const own = vectors.filter((_, i) => labels[i] === c);
      return own[0].map((_, d) => own.reduce((sum, v) => sum + v[d], 0) / (share ? own.length : 1));
    });
  }

  function similarity(a, b, how) {
    if (how.distance === "cosine") return how.scale * dot(unit(a), unit(b));
    return -a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0);
  }

  function logSumExp(values) {
    const most = Math.max(...values);
    return most + Math.log(values.reduce((sum, v) => sum + Math.exp(v - most), 0));
  }

  const byClass = (values, labels) => Array.from({ length: Math.max(...labels) + 1 }, (_, c) => values.filter((_, i) => labels[i] === c));

  // The score of each class, of embedded examples and question.
  const COMPARE = {
    prototypical: (examples, labels, asked, how) => perClass(examples, labels, true).map((mean) => similarity(asked, mean, how)),
    metric: (examples, labels, asked, how) => perClass(examples.map(unit), labels, true).map((mean) => how.scale * dot(unit(asked), unit(mean))),
    matching(examples, labels, asked, how) {
      const alike = examples.map((example) => similarity(asked, example, how)), all = logSumExp(alike);
      return byClass(alike, labels).map((own) => logSumExp(own) - all);
    },
    siamese(examples, labels, asked, how) {
      const described = (v) => pass(how.describe, { data: v, n: 1, c: v.length, h: 1, w: 1 }).data;
      const a = numbers(how.weight), from = described(asked);
      const alike = examples.map(described).map((h) => how.factor * a.reduce((sum, v, i) => sum + v * Math.abs(from[i] - h[i]), 0) + how.bias);
      return byClass(alike, labels).map((own) => Math.max(...own));
    },
    relation(examples, labels, asked, how, shape) {
      const sums = perClass(examples, labels, false), pairs = maps(sums.length, 2 * shape.c, shape.h, shape.w);
      sums.forEach((sum, c) => {
        pairs.data.set(sum, 2 * c * sum.length);
        pairs.data.set(asked, (2 * c + 1) * sum.length);
      });
      return [...pass(how.layers, pairs).data];
    },
  };

  // Coordinates by the first two principal components, as fphi's own pictures have them.
  function plane(vectors, labels) {
    const n = vectors.length, width = vectors[0].length;
    const mean = vectors[0].map((_, d) => vectors.reduce((sum, v) => sum + v[d], 0) / n);
    const centred = vectors.map((v) => v.map((value, d) => value - mean[d]));
    const gram = centred.map((a) => centred.map((b) => dot(a, b))), total = gram.reduce((sum, row, i) => sum + row[i], 0);
    const found = [];
    for (let k = 0; k < 2; k++) {
      let u = unit(Array.from({ length: n }, (_, i) => Math.sin(1 + i + 7 * k)));
      for (let step = 0; step < 300; step++) {
        u = gram.map((row) => dot(row, u));
        for (const { u: other } of found) {
          const along = dot(u, other);
          u = u.map((v, i) => v - along * other[i]);
        }
        u = unit(u);
      }
      const size = Math.max(0, dot(u, gram.map((row) => dot(row, u))));
      const direction = Array.from({ length: width }, (_, d) => centred.reduce((sum, v, i) => sum + v[d] * u[i], 0));
      const largest = direction.reduce((best, v) => (Math.abs(v) > Math.abs(best) ? v : best), 0);
      found.push({ u, size, sign: Math.sign(largest) || 1 });
    }
    const points = vectors.map((_, i) => found.map(({ u, size, sign }) => sign * Math.sqrt(size) * u[i]));
    const support = points.slice(0, -1);
    return { support, means: perClass(support, labels, true), question: points[n - 1], share: found.map(({ size }) => (total > 0 ? size / total : 0)) };
  }

  // Scores and embeddings; `classes` are lists of images, in bytes.
  fphi.compare = (classes, question) => {
    const labels = classes.flatMap((images, c) => images.map(() => c));
    const [support, asked] = embed(classes.flat(), question), how = learned.learner;
    const examples = support.map((x) => Array.from(x.data)), vector = Array.from(asked.data);
    const scores = COMPARE[how.kind](examples, labels, vector, how, asked);
    return { scores, plane: plane(how.kind === "metric" ? [...examples, vector].map(unit) : [...examples, vector], labels) };
  };

  function probabilities(scores) {
    if (learned.learner.kind === "relation") {
      const sum = Math.max(scores.reduce((a, b) => a + b, 0), 1e-12);
      return scores.map((v) => v / sum);
    }
    const all = logSumExp(scores);
    return scores.map((v) => Math.exp(v - all));
  }

  fphi.source = {
    where: "Everything is computed by this file in your browser; nothing is sent anywhere.",
    describe: async () => learned.description,
    async answer(classes, question) {
      const found = fphi.compare(classes, question);
      return { probabilities: probabilities(found.scores), steps: null, plane: found.plane };
    },
  };
})();
