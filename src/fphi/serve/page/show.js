// What is shown: small pictures, bars, the answers by step, the plane of embeddings. Nothing by colour alone.
"use strict";

fphi.letter = (c) => String.fromCharCode(65 + c);
fphi.percent = (p) => `${Math.round(100 * p)} %`;

// An element with attributes and children; texts are texts, never markup.
fphi.element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
};

(() => {
  const SVG = "http://www.w3.org/2000/svg", { element } = fphi;

  function svg(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // A class's letter on its colour, of which there are ten.
  fphi.badge = (c) => element("span", { class: `badge c${c % 10}`, "aria-hidden": "true" }, fphi.letter(c));

  // The learner's image in a canvas; of line drawings the ink has the colour `rgb`, and the paper none.
  fphi.paintImage = (canvas, image, look, rgb) => {
    const side = look.size, area = side * side, context = canvas.getContext("2d");
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const shown = context.createImageData(side, side);
    for (let i = 0; i < area; i++) {
      if (look.kind === "strokes") {
        shown.data.set(rgb, 4 * i);
        shown.data[4 * i + 3] = look.invert ? 255 - image[i] : image[i];
        continue;
      }
      for (let c = 0; c < 3; c++) {
        const level = image[(look.channels === 3 ? c * area : 0) + i];
        shown.data[4 * i + c] = look.invert ? 255 - level : level;
      }
      shown.data[4 * i + 3] = 255;
    }
    context.putImageData(shown, 0, 0);
  };

  // A CSS colour of the page as three bytes.
  fphi.colour = (of, property = "color") => {
    const found = getComputedStyle(of)[property].match(/[\d.]+/g) || [0, 0, 0];
    return found.slice(0, 3).map(Number);
  };

  fphi.showBars = (list, names, probabilities, pictures) => {
    const best = probabilities.indexOf(Math.max(...probabilities));
    list.replaceChildren(...names.map((name, c) => {
      const fill = element("span", { class: `fill c${c % 10}` });
      fill.style.width = `${100 * probabilities[c]}%`;
      return element("li", { class: c === best ? "best" : "", "data-class": fphi.letter(c) },
        fphi.badge(c), element("img", { src: pictures[c], alt: "" }),
        element("span", { class: name === fphi.letter(c) ? "name unseen" : "name" }, name),
        element("span", { class: "bar", "aria-hidden": "true" }, fill),
        element("span", { class: "share" }, fphi.percent(probabilities[c])));
    }));
  };

  // Which of many steps have room: all up to eight, else the first, the last and some between.
  function someSteps(count) {
    if (count <= 8) return Array.from({ length: count }, (_, i) => i);
    return [...new Set(Array.from({ length: 8 }, (_, i) => Math.round(((count - 1) * i) / 7)))];
  }

  fphi.showSteps = (table, names, steps) => {
    const shown = someSteps(steps.length);
    const head = element("tr", {}, element("th", { scope: "col" }, "step"),
      ...shown.map((s) => element("th", { scope: "col" }, s)));
    const rows = names.map((name, c) => element("tr", {},
      element("th", { scope: "row" }, fphi.badge(c), element("span", { class: name === fphi.letter(c) ? "unseen" : "" }, ` ${name}`)),
      ...shown.map((s) => {
        const cell = element("td", { class: `c${c % 10}` }, element("span", {}, fphi.percent(steps[s][c])));
        cell.style.setProperty("--amount", `${Math.round(70 * steps[s][c])}%`);
        return cell;
      })));
    table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  };

  // Examples, class means and the question in the plane; a line leads to the mean that is nearest there.
  fphi.showPlane = (holder, plane, labels, pictures, asked, best) => {
    const every = [...plane.support, ...plane.means, plane.question], room = 36, wide = 460;
    const [xs, ys] = [0, 1].map((axis) => every.map((point) => point[axis]));
    const span = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 1e-9);
    const scale = (wide - 2 * room) / span, [left, top] = [Math.min(...xs), Math.max(...ys)];
    const high = scale * (top - Math.min(...ys)) + 2 * room;
    const place = ([x, y]) => [room + scale * (x - left), room + scale * (top - y)];
    const picture = (point, source, kind) => {
      const [x, y] = place(point), half = 17;
      return svg("g", { class: kind },
        svg("rect", { x: x - half - 1, y: y - half - 1, width: 2 * half + 2, height: 2 * half + 2, rx: 4 }),
        svg("image", { href: source, x: x - half, y: y - half, width: 2 * half, height: 2 * half }));
    };
    const mean = (point, c) => { // of a single example it is the example: the letter stands at its corner
      const alone = labels.filter((label) => label === c).length === 1;
      const [x, y] = place(point).map((v) => (alone ? v - 19 : v)), r = alone ? 8 : 11;
      return svg("g", { class: `mean c${c % 10}` }, svg("circle", { cx: x, cy: y, r }),
        svg("text", { x, y: y + 4, "text-anchor": "middle" }, fphi.letter(c)));
    };
    const [qx, qy] = place(plane.question), [mx, my] = place(plane.means[best]);
    holder.replaceChildren(svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-labelledby": "plane-title plane-caption" },
      svg("line", { x1: qx, y1: qy, x2: mx, y2: my }),
      ...plane.support.map((point, i) => picture(point, pictures[i], `example c${labels[i] % 10}`)),
      picture(plane.question, asked, "question"),
      ...plane.means.map(mean)));
  };
})();
