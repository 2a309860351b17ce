"use strict";

// Theme: automatic, light, dark
{
  const button = document.getElementById("theme"), names = ["auto", "light", "dark"];
  let current = 0;
  button.hidden = false;
  button.addEventListener("click", () => {
    current = (current + 1) % 3;
    document.documentElement.style.colorScheme = current ? names[current] : "";
    button.textContent = `Theme: ${names[current]}`;
    document.dispatchEvent(new Event("theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
}

// Paper has nothing to click on
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) { part.open = true; part.dataset.printed = ""; }
});
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-printed]")) { part.open = false; delete part.dataset.printed; }
});

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const inflate = async (text) =>
  new Uint8Array(await new Response(new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
const percent = (share) => (share === null || share === undefined ? "-" : `${(100 * share).toFixed(1)} %`);
const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const IGNORE = 255, AHEAD = 6, KEPT = 40;

class Player {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.at = -1; this.wanted = 0; this.playing = false; this.mode = "classes"; this.pointer = null; this.only = null;
    this.cache = new Map();
    this.build();
    this.show(0);
  }

  colour(system) { return `var(--c${this.data.colours[system] % 8 + 1})`; }

  find(selector) { return this.root.querySelector(selector); }

  build() {
    const { data } = this, views = this.find(".views");
    const titles = ["Input", ...(data.labelled ? ["Label"] : []), ...data.systems];
    this.views = titles.map((title, n) => {
      const figure = element("figure"), head = element("figcaption"), foot = element("p", "figures");
      const system = n - (data.labelled ? 2 : 1), name = element("span", "name", title);
      if (system >= 0) { const dot = element("i", "dot"); dot.style.background = this.colour(system); head.append(dot); }
      head.append(name);
      if (system >= 0 && system === data.reference) head.append(element("span", "tag", "reference"));
      const canvas = element("canvas");
      canvas.width = data.width; canvas.height = data.height;
      canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", title);
      const box = element("div", "canvas"), cross = element("i", "cross");
      box.append(canvas, cross);
      figure.append(head, box, foot);
      views.append(figure);
      box.addEventListener("pointermove", (event) => {
        const area = canvas.getBoundingClientRect();
        this.point((event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
      });
      box.addEventListener("pointerleave", () => this.point(null));
      return { system, canvas, context: canvas.getContext("2d", { willReadFrequently: n === 0 }), foot, cross, title };
    });
    views.style.setProperty("--views", titles.length);
    data.classes.forEach((name, k) => {
      const button = element("button", "class", name), swatch = element("i", "swatch");
      swatch.style.background = `rgb(${data.palette[k].join(" ")})`;
      button.type = "button"; button.prepend(swatch); button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        this.only = this.only === k ? null : k;
        for (const [n, one] of [...this.find(".legend").children].entries()) one.setAttribute("aria-pressed", `${this.only === n}`);
        this.draw();
      });
      this.find(".legend").append(button);
    });
    for (const radio of this.root.querySelectorAll("input[type=radio]")) {
      radio.addEventListener("change", () => { this.mode = radio.value; this.root.dataset.mode = radio.value; this.draw(); });
    }
    this.find(".opacity").addEventListener("input", () => this.draw());
    this.find(".motion").addEventListener("change", () => this.draw());
    this.slider = this.find(".seek");
    this.slider.max = data.frames.length - 1;
    this.slider.addEventListener("input", () => { this.stop(); this.show(Number(this.slider.value)); });
    for (const button of this.root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.strip();
    document.addEventListener("theme", () => this.draw());
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target, does = {
      ArrowLeft: event.shiftKey ? "back" : "previous", ArrowRight: event.shiftKey ? "forward" : "next",
      Home: "first", End: "last", " ": "play", k: "key-next", j: "key-previous", PageUp: "forward", PageDown: "back",
    }[event.key];
    if (does === undefined) return;
    if (event.key === " " && at.matches("button, input[type=checkbox], input[type=radio]")) return;
    if (at.matches("input[type=radio], .opacity") && event.key !== " ") return;
    event.preventDefault();
    this.act(does);
  }

  act(does) {
    const { frames } = this.data, last = frames.length - 1;
    if (does === "play") return this.playing ? this.stop() : this.play();
    this.stop();
    const keys = frames.flatMap((frame, n) => (frame.key ? [n] : []));
    const to = {
      first: 0, last, previous: this.wanted - 1, next: this.wanted + 1, back: this.wanted - 10, forward: this.wanted + 10,
      "key-next": keys.find((n) => n > this.wanted) ?? last, "key-previous": keys.findLast((n) => n < this.wanted) ?? 0,
    }[does];
    this.show(Math.min(last, Math.max(0, to)));
  }

  play() {
    this.playing = true;
    this.find("[data-do=play]").setAttribute("aria-pressed", "true");
    this.find("[data-do=play]").textContent = "Pause";
    let due = performance.now();
    const step = async () => {
      if (!this.playing) return;
      await this.show((this.wanted + 1) % this.data.frames.length);
      due = Math.max(due + 1000 / this.data.fps, performance.now());
      setTimeout(step, due - performance.now());
    };
    step();
  }

  stop() {
    this.playing = false;
    this.find("[data-do=play]").setAttribute("aria-pressed", "false");
    this.find("[data-do=play]").textContent = "Play";
  }

  load(n) { // decoded once, kept for a while
    if (!this.cache.has(n)) {
      const frame = this.data.frames[n];
      this.cache.set(n, Promise.all([
        createImageBitmap(new Blob([bytes(frame.image)], { type: "image/webp" })),
        inflate(frame.maps),
        frame.motion ? inflate(frame.motion).then((found) => new Int16Array(found.buffer)) : null,
      ]).then(([image, maps, motion]) => ({ image, maps, motion })));
      if (this.cache.size > KEPT) this.cache.delete(this.cache.keys().next().value);
    }
    return this.cache.get(n);
  }

  async show(n) {
    this.wanted = n;
    const decoded = await this.load(n);
    if (this.wanted !== n) return; // another one was asked for meanwhile
    this.at = n; this.decoded = decoded;
    this.draw();
    for (let k = 1; k <= AHEAD && n + k < this.data.frames.length; k++) this.load(n + k);
  }

  plane(number, frame) { // label map of a view's system, -1: of the labels
    const { width, height } = this.data, place = number + (frame.labelled ? 1 : 0);
    return place < 0 ? null : this.decoded.maps.subarray(place * width * height, (place + 1) * width * height);
  }

  draw() {
    if (this.at < 0) return;
    const { data, at } = this, frame = data.frames[at], { width, height } = data;
    const opacity = Number(this.find(".opacity").value) / 100;
    const input = this.views[0].context;
    input.drawImage(this.decoded.image, 0, 0, width, height);
    const pixels = input.getImageData(0, 0, width, height).data;
    const label = frame.labelled ? this.plane(-1, frame) : null;
    const reference = data.reference === null ? null : this.plane(data.reference, frame);
    for (const view of this.views) {
      if (view.system < 0 && view.title === "Input") continue;
      const found = view.system < 0 ? label : this.plane(view.system, frame);
      const against = view.system < 0 ? null : this.mode === "errors" ? label : this.mode === "differences" ? reference : null;
      view.context.putImageData(this.paint(pixels, found, against, opacity), 0, 0);
      if (view.system >= 0) {
        const parts = [];
        if (label) parts.push(`right ${percent(frame.right[view.system])}`);
        if (reference && view.system !== data.reference) parts.push(`as reference ${percent(frame.agrees[view.system])}`);
        view.score = parts.join(" · ");
      } else view.score = frame.labelled ? "ground truth" : "no label on this frame";
    }
    if (this.find(".motion").checked) this.arrows(input);
    const since = at - data.frames.slice(0, at + 1).findLastIndex((one) => one.key);
    this.views[0].score = frame.key ? "keyframe" : `${since} frame${since === 1 ? "" : "s"} after the keyframe${frame.damaged ? ", damaged" : ""}`;
    this.root.dataset.frame = at;
    this.root.toggleAttribute("data-key", frame.key);
    this.slider.value = at;
    this.slider.setAttribute("aria-valuetext", `frame ${frame.index}, ${this.views[0].score}`);
    this.find(".where").textContent = `Frame ${frame.index} · ${at + 1} of ${data.frames.length} · ${this.views[0].score}`;
    const x = (at + 0.5) * 1000 / data.frames.length;
    this.head.setAttribute("x1", x); this.head.setAttribute("x2", x);
    this.captions();
  }

  paint(pixels, found, against, opacity) {
    const { width, height, palette } = this.data, image = new ImageData(width, height), out = image.data;
    const judged = this.mode !== "classes" && against !== null;
    for (let n = 0, o = 0; n < width * height; n++, o += 4) {
      const grey = 0.3 * pixels[o] + 0.59 * pixels[o + 1] + 0.11 * pixels[o + 2];
      let share = opacity, red = grey, green = grey, blue = grey, r = 0, g = 0, b = 0;
      const label = found ? found[n] : IGNORE;
      if (judged) {
        if (against[n] === IGNORE || label === against[n]) { share = 0.45; r = g = b = 255; }
        else { share = 0.8; [r, g, b] = this.mode === "errors" ? [224, 30, 55] : [112, 48, 220]; }
      } else if (label === IGNORE) { share = found ? 0.6 : 0; }
      else {
        [r, g, b] = palette[label];
        if (this.only !== null && label !== this.only) { share = 0.25; r = g = b = 255; }
        else { red = pixels[o]; green = pixels[o + 1]; blue = pixels[o + 2]; }
      }
      if (judged && this.only !== null && label !== this.only && against[n] !== this.only) { share = 0.45; r = g = b = 255; }
      out[o] = red + share * (r - red); out[o + 1] = green + share * (g - green); out[o + 2] = blue + share * (b - blue);
      out[o + 3] = 255;
    }
    return image;
  }

  arrows(context) {
    const { motion } = this.decoded, { width, step, unit } = this.data;
    if (!motion) return;
    const columns = Math.ceil((width - step / 2) / step);
    const lines = new Path2D(), dots = new Path2D();
    for (let n = 0; n < motion.length / 2; n++) {
      const x = step / 2 + (n % columns) * step, y = step / 2 + Math.floor(n / columns) * step;
      if (motion[2 * n] === -32768) { dots.rect(x - 1.5, y - 1.5, 3, 3); continue; }
      const dx = -motion[2 * n] * unit, dy = -motion[2 * n + 1] * unit, length = Math.hypot(dx, dy);
      if (length < 0.5) continue;
      const turn = Math.atan2(dy, dx), head = Math.min(5, 2 + length / 3);
      lines.moveTo(x - dx, y - dy); lines.lineTo(x, y);
      for (const side of [2.6, -2.6]) { lines.moveTo(x, y); lines.lineTo(x + head * Math.cos(turn + side), y + head * Math.sin(turn + side)); }
    }
    context.lineCap = "round";
    for (const [colour, thick] of [["rgb(0 0 0 / 0.65)", 3], ["#ffe14d", 1.3]]) {
      context.strokeStyle = colour; context.lineWidth = thick; context.stroke(lines);
    }
    context.fillStyle = "#ff5252"; context.fill(dots);
  }

  point(x, y) {
    this.pointer = x === null ? null : [x, y];
    this.captions();
  }

  captions() {
    const { data } = this, frame = data.frames[Math.max(0, this.at)];
    for (const view of this.views) {
      let text = view.score;
      view.cross.hidden = this.pointer === null;
      if (this.pointer && this.decoded) {
        const x = Math.min(data.width - 1, Math.floor(this.pointer[0] * data.width)), y = Math.min(data.height - 1, Math.floor(this.pointer[1] * data.height));
        view.cross.style.left = `${100 * this.pointer[0]}%`; view.cross.style.top = `${100 * this.pointer[1]}%`;
        const isInput = view.title === "Input" && view.system < 0, plane = isInput || (view.system < 0 && !frame.labelled) ? null : this.plane(view.system < 0 ? -1 : view.system, frame);
        if (plane) { const label = plane[y * data.width + x]; text = label === IGNORE ? "ignored" : data.classes[label]; }
        else if (isInput) text = `x ${x}, y ${y}`;
      }
      view.foot.textContent = text;
    }
  }

  strip() { // the share of right (or agreeing) pixels over time, keyframes, and where the player is
    const { data } = this, svg = this.find(".strip"), count = data.frames.length, make = (name, given) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
      svg.append(made);
      return made;
    };
    const key = data.labelled ? "right" : "agrees", values = data.frames.map((frame) => frame[key]);
    const known = values.flat().filter((v) => v !== null), low = Math.min(...known, 1), high = Math.max(...known, 0);
    const x = (n) => (n + 0.5) * 1000 / count, y = (v) => 8 + 72 * (1 - (v - low) / Math.max(high - low, 1e-6));
    data.frames.forEach((frame, n) => { if (frame.key) make("line", { class: "key", x1: x(n), x2: x(n), y1: 0, y2: 100 }); });
    if (known.length) data.systems.forEach((_, system) => {
      if (!data.labelled && system === data.reference) return;
      let path = "";
      values.forEach((row, n) => { if (row[system] !== null) path += `${path && values[n - 1]?.[system] !== null ? "L" : "M"}${x(n).toFixed(1)} ${y(row[system]).toFixed(1)}`; });
      make("path", { d: path, style: `stroke: ${this.colour(system)}` });
    });
    this.head = make("line", { class: "head", y1: 0, y2: 100 });
    this.find(".high").textContent = known.length ? percent(high) : ""; this.find(".low").textContent = known.length ? percent(low) : "";
    const seek = (event) => {
      const area = svg.getBoundingClientRect();
      this.stop();
      this.show(Math.min(count - 1, Math.max(0, Math.floor((event.clientX - area.left) / area.width * count))));
    };
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); seek(event); });
    svg.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  }
}

const players = [...document.querySelectorAll(".player")].map((root) => new Player(root));
// Keys reach the first player from wherever nothing else has the focus
document.addEventListener("keydown", (event) => { if (event.target === document.body && players.length) players[0].key(event); });
document.documentElement.dataset.ready = "";
