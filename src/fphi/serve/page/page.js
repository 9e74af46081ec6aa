// The page: classes with their examples, a question, what is selected, and asking anew whenever something changes.
"use strict";

(() => {
  const { element, letter } = fphi, at = (id) => document.getElementById(id);
  let known = null; // what the learner is
  let classes = [], question = fphi.newDrawing(), selected = { drawing: null };
  let drawers = null; // the characters of "begin with examples", and their random numbers
  let busy = false, stale = false; // whether an answer is awaited, and whether something changed meanwhile
  const images = new WeakMap(); // of each drawing as it is now: [what it was made of, image, its picture]

  const pad = new fphi.Pad(at("pad"), () => refresh());
  const newClass = () => ({ name: "", examples: [fphi.newDrawing()] });
  const filled = (c) => classes[c].examples.filter((drawing) => !fphi.isEmpty(drawing));
  const nameOf = (c) => classes[c].name.trim() || letter(c);
  const fullName = (c) => (classes[c].name.trim() ? `${letter(c)}, ${nameOf(c)}` : letter(c));

  // The image that the learner gets of a drawing, and a picture of it, made again only if it has changed.
  function seen(drawing) {
    const key = JSON.stringify([drawing.strokes, at("light").checked, matchMedia("(prefers-color-scheme: dark)").matches]);
    const before = images.get(drawing);
    if (before && before.key === key && before.of === drawing.picture) return before;
    const image = fphi.toImage(drawing, known.look, at("light").checked), canvas = element("canvas");
    fphi.paintImage(canvas, image, known.look, fphi.colour(document.body));
    const made = { key, of: drawing.picture, image, canvas, url: canvas.toDataURL() };
    images.set(drawing, made);
    return made;
  }

  // A button with the small picture of a drawing, which selects it.
  function slot(drawing, label, isQuestion) {
    const empty = fphi.isEmpty(drawing), mark = isQuestion ? "?" : "+";
    const button = element("button", {
      type: "button", class: `slot${empty ? " empty" : ""}`, "aria-pressed": String(selected.drawing === drawing),
      "aria-label": `${label}${empty ? ", empty" : ""}`,
    }, empty ? mark : element("img", { src: seen(drawing).url, alt: "" }));
    button.addEventListener("click", () => { select(drawing); at("pad").scrollIntoView({ block: "nearest" }); });
    button.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") remove(drawing);
    });
    return button;
  }

  function card(c) {
    const name = element("input", { type: "text", value: classes[c].name, placeholder: `class ${letter(c)}`, maxlength: 40,
      "aria-label": `Name of class ${letter(c)}`, autocomplete: "off" });
    name.addEventListener("input", () => { classes[c].name = name.value; showAnswer(); });
    const close = element("button", { type: "button", class: "close", "aria-label": `Remove class ${letter(c)}`,
      disabled: classes.length <= 2 }, "×");
    close.addEventListener("click", () => {
      classes.splice(c, 1);
      ensureSelection();
      refresh();
    });
    const slots = classes[c].examples.map((drawing, i) => slot(drawing, `Example ${i + 1} of class ${fullName(c)}`, false));
    const more = element("button", { type: "button", class: "slot more", "aria-label": `Another example of class ${letter(c)}` }, "+");
    more.addEventListener("click", () => { another(c); at("pad").scrollIntoView({ block: "nearest" }); });
    const full = !roomFor(c) || classes[c].examples.some(fphi.isEmpty);
    const made = element("li", { "data-class": letter(c) }, fphi.badge(c), name, close,
      element("div", { class: "slots" }, ...slots, ...(full ? [] : [more])));
    droppable(made, (files) => addFiles(files, c));
    return made;
  }

  function roomFor(c) {
    const total = classes.reduce((sum, each) => sum + each.examples.length, 0), { shots, examples } = known.limits;
    return total < examples && (shots === null || classes[c].examples.length < shots);
  }

  // Select an empty example of a class: one that is there, or a new one.
  function another(c) {
    if (!classes[c]) return;
    let empty = classes[c].examples.find(fphi.isEmpty);
    if (!empty && roomFor(c)) classes[c].examples.push((empty = fphi.newDrawing()));
    select(empty || classes[c].examples[classes[c].examples.length - 1]);
  }

  function select(drawing) {
    selected = { drawing };
    for (const each of classes) { // empty ones that were left are of no use, but for the first
      each.examples = each.examples.filter((d, i) => i === 0 || d === drawing || !fphi.isEmpty(d));
    }
    pad.open(drawing);
    refresh();
  }

  function remove(drawing) {
    for (const each of classes) {
      if (!each.examples.includes(drawing)) continue;
      each.examples = each.examples.filter((d) => d !== drawing);
      if (!each.examples.length) each.examples.push(fphi.newDrawing());
    }
    if (drawing === question) question = fphi.newDrawing();
    ensureSelection();
    refresh();
  }

  function ensureSelection() {
    const all = [question, ...classes.flatMap((each) => each.examples)];
    if (!all.includes(selected.drawing)) selected = { drawing: classes[0].examples[0] };
    pad.open(selected.drawing);
  }

  // What is still missing: an example of a class, or the question.
  function missing() {
    const { shots } = known.limits;
    for (let c = 0; c < classes.length; c++) {
      const count = filled(c).length;
      if (shots !== null && count !== shots) return { c, text: `Class ${letter(c)} has ${count} of the ${shots} examples that this learner needs of each.` };
      if (!count) return { c, text: `Draw an example of class ${letter(c)}.` };
    }
    return fphi.isEmpty(question) ? { c: null, text: "Now draw a question." } : null;
  }

  function next() {
    const lacking = missing();
    if (lacking && lacking.c !== null) another(lacking.c);
    else select(question);
    at("pad").focus({ preventScroll: true });
  }

  function ask() {
    const lacking = missing();
    stale = busy;
    if (lacking) {
      shown = { text: lacking.text };
      showAnswer();
      return;
    }
    document.body.dataset.state = "asking";
    if (busy) return;
    busy = true;
    const groups = classes.map((_, c) => filled(c)), now = question;
    fphi.source.answer(groups.map((group) => group.map((d) => seen(d).image)), seen(now).image).then(
      (answer) => ({ answer, pictures: groups.flat().map((d) => seen(d).url), asked: seen(now).url,
        labels: groups.flatMap((group, c) => group.map(() => c)) }),
      (error) => ({ text: error.message, wrong: true }),
    ).then((result) => {
      busy = false;
      if (stale) {
        ask();
        return;
      }
      shown = result;
      showAnswer();
    });
  }

  let shown = { text: "" };

  function showAnswer() {
    const { answer, text } = shown;
    if (answer && answer.probabilities.length !== classes.length) return; // another is on its way
    const names = classes.map((_, c) => nameOf(c));
    at("bars").hidden = !answer;
    at("steps").hidden = !answer || !answer.steps;
    at("plane").hidden = !answer || !answer.plane;
    at("verdict").classList.toggle("wrong", Boolean(shown.wrong));
    document.body.dataset.state = answer ? "answered" : "waiting";
    if (!answer) {
      at("verdict").textContent = text;
      return;
    }
    const best = answer.probabilities.indexOf(Math.max(...answer.probabilities));
    const verdict = `It is ${nameOf(best)}, ${fphi.percent(answer.probabilities[best])}`;
    if (at("verdict").textContent !== verdict) at("verdict").textContent = verdict;
    fphi.showBars(at("bars"), names, answer.probabilities, names.map((_, c) => shown.pictures[shown.labels.indexOf(c)]));
    if (answer.steps) fphi.showSteps(at("steps-table"), names, answer.steps);
    if (!answer.plane) return;
    const [first, second] = answer.plane.share.map(fphi.percent);
    at("plane-caption").textContent = `Embeddings of the examples, the mean of each class (a letter) and the question (dashed frame); first two principal components, ${first} and ${second} of the variance. The line leads to the answer.`;
    fphi.showPlane(at("plane-picture"), answer.plane, shown.labels, shown.pictures, shown.asked, best);
  }

  function refresh() {
    const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
    at("classes").replaceChildren(...classes.map((_, c) => card(c)));
    at("question").replaceChildren(slot(question, "Question", true));
    if (focused && document.activeElement === document.body) {
      const same = [...document.querySelectorAll("button, input")].find((e) => e.getAttribute("aria-label") === focused);
      if (same) same.focus({ preventScroll: true });
    }
    const c = classes.findIndex((each) => each.examples.includes(selected.drawing));
    const what = c < 0 ? "the question" : `an example of ${nameOf(c)}`;
    at("target").textContent = `Draw ${what}`;
    at("pad").setAttribute("aria-label", `Drawing pad, ${what}, ${selected.drawing.strokes.length} strokes`);
    at("undo").disabled = !selected.drawing.past.length;
    at("clear").disabled = fphi.isEmpty(selected.drawing);
    at("add").disabled = classes.length >= known.limits.classes;
    ask();
  }

  // Characters of the embedded data, each by simulated drawers, and a question by another drawer.
  function fill() {
    const count = Math.max(2, Math.min(5, known.limits.classes)), shots = known.limits.shots || 1;
    const random = fphi.random((drawers ? drawers.seed : 0) + 1), rest = known.characters.slice();
    const chosen = Array.from({ length: count }, () => rest.splice(Math.floor(random() * rest.length), 1)[0]);
    drawers = { seed: (drawers ? drawers.seed : 0) + 1, random, chosen };
    const drawing = (character) => fphi.simulate(character, random);
    classes = chosen.map((character) => ({ name: "", examples: Array.from({ length: shots }, () => drawing(character)) }));
    newQuestion();
  }

  function newQuestion() {
    if (!drawers) return;
    const { random, chosen } = drawers;
    question = fphi.simulate(chosen[Math.floor(random() * chosen.length)], random);
    select(question);
  }

  function restart() {
    classes = [newClass(), newClass()];
    question = fphi.newDrawing();
    drawers = null;
    select(classes[0].examples[0]);
  }

  // A file's image, with at most 512 pixels of a side.
  async function readPicture(file) {
    const bitmap = await createImageBitmap(file), scale = Math.min(1, 512 / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
    const canvas = element("canvas", { width, height }), context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  }

  // Images from files: into class `c` as examples, or in the place of what is selected.
  async function addFiles(files, c) {
    for (const file of files) {
      let picture;
      try {
        picture = await readPicture(file);
      } catch {
        shown = { text: `${file.name} is no image that the browser can read.`, wrong: true };
        showAnswer();
        continue;
      }
      if (c !== null) another(c);
      pad.remember();
      pad.replace([], picture);
      if (c === null) break;
    }
  }

  function droppable(area, take) {
    area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
    area.addEventListener("dragleave", () => area.classList.remove("over"));
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      area.classList.remove("over");
      take([...event.dataTransfer.files]);
    });
  }

  function addClass() {
    if (classes.length >= known.limits.classes) return;
    classes.push(newClass());
    another(classes.length - 1);
  }

  const KEYS = {
    a: addClass, e: fill, r: restart, n: next, g: newQuestion, u: () => pad.undo(), c: () => pad.clear(),
    i: () => at("file").click(), q: () => select(question), d: () => at("pad").focus(),
    "?": () => { at("keys").open = !at("keys").open; },
  };

  function pressed(event) {
    if (event.target instanceof HTMLInputElement && event.target.type === "text") return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === "z") {
      event.preventDefault();
      pad.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !at("single").checked) return;
    if (key in KEYS) KEYS[key]();
    else if (/^[1-9]$/.test(key)) another(Number(key) - 1);
    else return;
    event.preventDefault();
  }

  function describe() {
    const { method, tasks, limits, look } = known;
    const of = { omniglot: "the characters of Omniglot", hershey: "the embedded characters", fonts: "letters in fonts" }[tasks] || "images";
    at("title").textContent = `Draw and ask: ${method}`;
    document.title = `fphi: ${method}`;
    at("about").textContent = `${known.paper}. Trained on ${of}; it never saw yours.`;
    const bound = limits.bound ? ` (${method} is bound to the ${limits.classes} of its training)` : "";
    const shots = limits.shots === null ? "one example or a few of each" : `${limits.shots} ${limits.shots === 1 ? "example" : "examples"} of each, as in its training`;
    at("rule").textContent = `2 to ${limits.classes} classes${bound}, ${shots}. The small pictures are what it sees.`;
    at("polarity").hidden = look.kind !== "pictures";
    at("where").textContent = fphi.source.where || "Everything is computed on the machine that serves this page.";
  }

  async function begin() {
    known = await fphi.source.describe();
    describe();
    for (const [id, does] of Object.entries({ add: addClass, fill, restart, undo: () => pad.undo(), clear: () => pad.clear(), next })) {
      at(id).addEventListener("click", does);
    }
    at("image").addEventListener("click", () => at("file").click());
    at("file").addEventListener("change", () => { addFiles([...at("file").files], null); at("file").value = ""; });
    at("light").addEventListener("change", refresh);
    droppable(document.body, (files) => addFiles(files, null));
    document.addEventListener("keydown", pressed);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
    restart();
    document.body.dataset.ready = "";
  }

  begin().catch((error) => { at("about").textContent = error.message; });
})();
