// The drawing pad: strokes by pointer (mouse, finger, pen) or by keyboard.
"use strict";

// The pad in a canvas; `changed` is called whenever the drawing on it has become another.
fphi.Pad = class {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.drawing = fphi.newDrawing();
    this.stroke = null; // that which is being drawn
    this.pen = { x: 0.5, y: 0.5, down: false, shown: false }; // of the keyboard
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.lift(); this.pen.shown = false; this.paint(); });
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  open(drawing) {
    this.lift();
    this.stroke = null;
    this.drawing = drawing;
    this.paint();
  }

  // Remember the drawing as it is, for undo.
  remember() {
    const { strokes, picture } = this.drawing;
    this.drawing.past.push({ strokes: strokes.map((stroke) => stroke.slice()), picture });
    if (this.drawing.past.length > 100) this.drawing.past.shift();
  }

  start(x, y) {
    this.remember();
    this.drawing.picture = null; // a new drawing takes the place of a picture
    this.stroke = [[x, y]];
    this.drawing.strokes.push(this.stroke);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), inside = (v) => Math.min(1, Math.max(0, v));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }

  begin(event) {
    if (this.stroke || event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.pen.shown = false;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.start(...this.place(event));
    this.paint();
  }

  move(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    const steps = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const step of steps.length ? steps : [event]) {
      const [x, y] = this.place(step), [lx, ly] = this.stroke[this.stroke.length - 1];
      if (Math.hypot(x - lx, y - ly) > 0.004 && this.stroke.length < 2000) this.stroke.push([x, y]);
    }
    this.paint();
  }

  end(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    this.stroke = this.pointer = null;
    this.changed();
  }

  undo() {
    if (!this.drawing.past.length) return;
    Object.assign(this.drawing, this.drawing.past.pop());
    this.stroke = null;
    this.pen.down = false;
    this.paint();
    this.changed();
  }

  clear() {
    if (fphi.isEmpty(this.drawing)) return;
    this.remember();
    this.replace([], null);
  }

  // Put something else in the place of what is drawn.
  replace(strokes, picture) {
    Object.assign(this.drawing, { strokes, picture });
    this.stroke = null;
    this.pen.down = false;
    this.paint();
    this.changed();
  }

  lift() {
    if (!this.pen.down) return;
    this.pen.down = false;
    this.stroke = null;
    this.changed();
  }

  key(event) {
    const step = event.shiftKey ? 0.1 : 0.025, pen = this.pen;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === " ") {
      if (pen.down) this.lift();
      else {
        pen.down = true;
        this.start(pen.x, pen.y);
      }
    } else if (event.key in ways) {
      const inside = (v) => Math.min(0.98, Math.max(0.02, v));
      pen.x = inside(pen.x + step * ways[event.key][0]);
      pen.y = inside(pen.y + step * ways[event.key][1]);
      if (pen.down && this.stroke) this.stroke.push([pen.x, pen.y]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    pen.shown = true;
    this.paint();
  }

  paint() {
    const { canvas, drawing, pen } = this, side = Math.round(canvas.clientWidth * devicePixelRatio) || 336;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    context.clearRect(0, 0, side, side);
    if (drawing.picture) {
      const { width, height, data } = drawing.picture, shown = document.createElement("canvas");
      Object.assign(shown, { width, height });
      shown.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
      context.drawImage(shown, 0, 0, side, side);
    }
    context.lineWidth = side / 28;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = context.fillStyle = style.color;
    for (const stroke of drawing.strokes) {
      context.beginPath();
      context.moveTo(side * stroke[0][0], side * stroke[0][1]);
      for (const [x, y] of stroke) context.lineTo(side * x, side * y + 0.01);
      context.stroke();
    }
    if (!pen.shown) return;
    context.strokeStyle = style.outlineColor;
    context.lineWidth = side / 120;
    context.beginPath();
    context.arc(side * pen.x, side * pen.y, side / (pen.down ? 50 : 30), 0, 2 * Math.PI);
    context.stroke();
  }
};
