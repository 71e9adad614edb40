// A convolution or a pool as a window that slides over its image, and the way back from a pixel.

const slide = { i: 0, j: 0, c: 0, p: 0, q: 0, a: 0, b: 0, timer: 0 }; // the output, the channel, the pixel, the place in the kernel
const UNKNOWN = "?"; // a number that is not on the page

/** The arrays of a slide at a step: values, or gradients for `what` = "g". */
function partOf(s, name, what) {
  const part = s[name];
  return part && (part.id ? story.tensors[part.id] : part)[what];
}

/** All that is to be known of the slide of a step, or null where nothing can be shown. */
function slideOf(step) {
  const s = story.slides?.[step.slide];
  if (!s || step.to === "b") return null;
  const [x, y, k, b] = ["x", "y", "k", "b"].map((name) => partOf(s, name, "v"));
  const [gx, gy, gk] = ["x", "y", "k"].map((name) => partOf(s, name, "g"));
  const back = step.k === "b";
  const up = s.kind === "up"; // a convolution on its way back, from y to x
  if (back && !(up ? gx : gy)) return null;
  const mode = back && (step.to === "k" || !(up ? gy : gx)) ? "kernel" : back === up ? "forward" : "pixel";
  if (mode === "kernel" && !gk) return null;
  const [image, out, came, result] = up ? [back ? gx : x, (back && gy) || y, y, x] : [x, y, gy, gx];
  const [inner, outer] = up ? ["y", "x"] : ["x", "y"];
  const names = { image: up && back ? slope(inner) : inner, out: (mode === "forward") === up ? slope(outer) : outer, result: up ? inner : slope(inner) };
  const [, channels, height, width] = shapeOf(x);
  const [, outs, rows, columns] = shapeOf(y);
  const at = (win) => { const read = win && reader(win); return (place) => (read ? read(place) ?? UNKNOWN : UNKNOWN); };
  return { ...s, kind: up ? "conv" : s.kind, up, names, mode, x: image, y: out, gy: came, gk, channels, height, width, outs, rows, columns,
    xs: at(image), ys: at(out), ks: at(k), bs: b && !back && at(b), gs: at(came), gxs: at(result), gks: at(gk) };
}

const clamp = (value, n) => Math.max(0, Math.min(n - 1, value));

/** The image, and the output channel, that are looked at. */
function chosen(t) {
  const [n, o] = unravel(sliceOf(t.y), shapeOf(t.y).slice(0, 2));
  return { n, o, c: t.kind === "conv" ? clamp(slide.c, t.channels) : o };
}

/** Each place of the window over output (i, j): its row and column in the image. */
function taps(t, i, j) {
  const found = [];
  for (let a = 0; a < t.size[0]; a++)
    for (let b = 0; b < t.size[1]; b++) {
      const row = i * t.stride[0] + a * t.dilation[0] - t.before[0];
      const column = j * t.stride[1] + b * t.dilation[1] - t.before[1];
      found.push({ a, b, row, column, inside: row >= 0 && column >= 0 && row < t.height && column < t.width });
    }
  return found;
}

/** Each place of the kernel, and the output whose window has the pixel there, if there is one. */
function outputsOf(t, p, q) {
  const found = [];
  for (let a = 0; a < t.size[0]; a++)
    for (let b = 0; b < t.size[1]; b++) {
      const i = (p + t.before[0] - a * t.dilation[0]) / t.stride[0];
      const j = (q + t.before[1] - b * t.dilation[1]) / t.stride[1];
      found.push({ a, b, row: i, column: j, inside: Number.isInteger(i) && Number.isInteger(j) && i >= 0 && j >= 0 && i < t.rows && j < t.columns });
    }
  return found;
}

const inX = (t, n, c, { row, column }) => ((n * t.channels + c) * t.height + row) * t.width + column;
const inY = (t, n, o, { row, column }) => ((n * t.outs + o) * t.rows + row) * t.columns + column;
const inK = (t, o, c, { a, b }) => ((o * t.channels + c) * t.size[0] + a) * t.size[1] + b;

/** The sum of products, UNKNOWN if a factor is. */
function dot(left, right) {
  const terms = left.map((x, k) => times(x, right[k]));
  return terms.every((x) => typeof x === "number") ? terms.reduce((a, b) => a + b, 0) : UNKNOWN;
}
const times = (x, y) => (typeof x === "number" && typeof y === "number" ? x * y : UNKNOWN);

/** Which place of a window has its largest element: the first, or the one that was recorded among equals. */
function winner(t, n, c, i, j) {
  const values = taps(t, i, j).map((tap) => (tap.inside ? t.xs(inX(t, n, c, tap)) : -Infinity));
  const most = Math.max(...values.filter((x) => typeof x === "number"));
  const best = values.indexOf("nan") >= 0 ? values.indexOf("nan") : values.indexOf(most);
  const recorded = t.won && !t.x.x?.size ? t.won.charCodeAt(inY(t, n, c, { row: i, column: j })) - 35 : -1;
  return recorded >= 0 && values[recorded] === most ? recorded : best;
}

// --- what is shown ---------------------------------------------------------------------------

/** A table of as many numbers as the window has, some of them outside of the image. */
function tapTable(t, numbers, caption, marks = {}) {
  const figure = heat({ s: t.size, d: numbers }, "tap", { caption: [caption], label: caption });
  const tds = figure.querySelectorAll("td");
  for (const [name, places] of Object.entries(marks)) for (const k of places) tds[k]?.classList.add(name);
  return figure;
}

/** An image with its padding; `boxes` are elements to be framed. `move(row, column)` answers to pointer and keys. */
function stage(win, slice, around, boxes, label, move) {
  const [, rows, columns] = planes(shapeOf(win));
  const [top, left, bottom, right] = around;
  const [high, wide] = [rows + top + bottom, columns + left + right];
  const k = Math.max(2, Math.min(16, Math.floor(230 / Math.max(high, wide))));
  const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": label, width: wide * k, height: high * k });
  const context = canvas.getContext("2d");
  const { frame, line, paper } = palette();
  const at = reader(win);
  const colour = colours(win);
  context.fillStyle = paper;
  context.fillRect(0, 0, wide * k, high * k);
  context.strokeStyle = line;
  for (let r = 0; r < high; r++)
    for (let c = 0; c < wide; c++) {
      const inside = r >= top && c >= left && r < top + rows && c < left + columns;
      const value = inside ? at((slice * rows + r - top) * columns + c - left) : undefined;
      context.fillStyle = value === undefined ? paper : `rgb(${colour(value)})`;
      context.fillRect(c * k, r * k, k, k);
      if (!inside) context.strokeRect(c * k + 0.5, r * k + 0.5, k - 1, k - 1);
    }
  context.strokeStyle = frame;
  context.lineWidth = 2;
  for (const { row, column, thin } of boxes) {
    context.lineWidth = thin ? 1 : 2.5;
    context.strokeRect((column + left) * k + 1, (row + top) * k + 1, k - 2, k - 2);
  }
  const hit = (event) => {
    const box = canvas.getBoundingClientRect();
    const spot = [((event.clientY - box.top) / box.height) * high, ((event.clientX - box.left) / box.width) * wide];
    move(Math.floor(spot[0]) - top, Math.floor(spot[1]) - left);
  };
  canvas.addEventListener("pointerdown", hit);
  canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" || event.buttons) hit(event); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    move(...way, true);
  });
  return canvas;
}

/** How far the windows reach beyond the image: above, left, below and right. */
function aroundOf(t) {
  const beyond = (axis, count, size) => (count - 1) * t.stride[axis] + (t.size[axis] - 1) * t.dilation[axis] + 1 - t.before[axis] - size;
  return [...t.before, Math.max(0, beyond(0, t.rows, t.height)), Math.max(0, beyond(1, t.columns, t.width))];
}

/** Numbers that are added: "0.2 + 0.3 − 0.1"; of many, only how many there are. */
function addends(values, what) {
  if (values.length > 6) return `Σ of ${values.length} ${what}s`;
  return values.map((x, k) => `${k ? (x < 0 ? " − " : " + ") : ""}${shown(k && typeof x === "number" ? Math.abs(x) : x)}`).join("");
}

/** One element of the output: its window, the kernel, the products, and what comes out. */
function forwardView(t, again) {
  const { n, o, c } = chosen(t);
  const [i, j] = [clamp(slide.i, t.rows), clamp(slide.j, t.columns)];
  const places = taps(t, i, j);
  const outside = places.flatMap((tap, k) => (tap.inside ? [] : [k]));
  const seen = (channel) => places.map((tap) => (tap.inside ? t.xs(inX(t, n, channel, tap)) : t.kind === "max" ? "−∞" : 0));
  const kernel = (channel) => places.map((tap) => t.ks(inK(t, o, channel, tap)));
  const result = t.ys(inY(t, n, o, { row: i, column: j }));
  const name = `${t.names.out}[${[n, o, i, j].join(", ")}]`;
  const window = tapTable(t, seen(c), "window", { outside, won: t.kind === "max" ? [winner(t, n, c, i, j)] : [] });
  const parts = [window];
  let words;
  if (t.kind === "conv") {
    parts.push(sign("⊙"), tapTable(t, kernel(c), `kernel [${o}, ${c}]`), sign("="), tapTable(t, seen(c).map((x, k) => times(x, kernel(c)[k])), "products", { outside }));
    const sums = Array.from({ length: t.channels }, (_, channel) => dot(seen(channel), kernel(channel)));
    const bias = t.bs ? ` + bias ${shown(t.bs(o))}` : "";
    const all = sums.length > 1 ? `; all ${sums.length} channels: ${addends(sums, "channel")}` : "";
    words = `Σ of the products of channel ${c} ≈ ${shown(sums[c])}${all}${bias} → ${name} = ${shown(result)}`;
  } else if (t.kind === "max") words = `The largest of the window is ${name} = ${shown(result)}.`;
  else words = `Σ of the window is ${name} = ${shown(result)}.`;
  const toWindow = (row, column, relative) => {
    slide.i = clamp(relative ? i + row : Math.round((row + t.before[0] - ((t.size[0] - 1) * t.dilation[0]) / 2) / t.stride[0]), t.rows);
    slide.j = clamp(relative ? j + column : Math.round((column + t.before[1] - ((t.size[1] - 1) * t.dilation[1]) / 2) / t.stride[1]), t.columns);
    again(0);
  };
  const toOutput = (row, column, relative) => {
    [slide.i, slide.j] = [clamp(relative ? i + row : row, t.rows), clamp(relative ? j + column : column, t.columns)];
    again(1);
  };
  const image = stage(t.x, n * t.channels + c, aroundOf(t), places, "the image, with the window", toWindow);
  const out = stage(t.y, n * t.outs + o, [0, 0, 0, 0], [{ row: i, column: j }], "the output, with the element", toOutput);
  return { image, out, parts, words };
}

/** One pixel of the image: the outputs that it went into, and the gradients that come back from them. */
function pixelView(t, again) {
  const { n, o, c } = chosen(t);
  const [p, q] = [clamp(slide.p, t.height), clamp(slide.q, t.width)];
  const places = outputsOf(t, p, q);
  const outside = places.flatMap((tap, k) => (tap.inside ? [] : [k]));
  const isWon = (tap, k) => t.kind !== "max" || winner(t, n, o, tap.row, tap.column) === k;
  const sent = (out) => places.map((tap, k) => (tap.inside && isWon(tap, k) ? t.gs(inY(t, n, out, tap)) : 0));
  const kernel = (out) => places.map((tap) => t.ks(inK(t, out, c, tap)));
  const came = sent(o);
  const won = t.kind === "max" ? places.flatMap((tap, k) => (tap.inside && isWon(tap, k) ? [k] : [])) : [];
  const parts = [tapTable(t, came, t.up ? "what laid a kernel over it" : "gradients of the outputs that it went into", { outside, won })];
  const result = `${t.names.result}[${[n, c, p, q].join(", ")}] = ${shown(t.gxs(inX(t, n, c, { row: p, column: q })))}`;
  let words;
  if (t.kind === "conv") {
    parts.push(sign("⊙"), tapTable(t, kernel(o), `kernel [${o}, ${c}]`), sign("="), tapTable(t, came.map((x, k) => times(x, kernel(o)[k])), "products", { outside }));
    const sums = Array.from({ length: t.outs }, (_, out) => dot(sent(out), kernel(out)));
    const bias = t.up && t.bs ? ` + bias ${shown(t.bs(c))}` : "";
    words = `Σ of the products of ${t.up ? "input" : "output"} channel ${o} ≈ ${shown(sums[o])}; all ${t.outs}: ${addends(sums, "channel")}${bias} → ${result}`;
  } else if (t.kind === "max") words = `${won.length ? `It was the largest of ${won.length} window${won.length > 1 ? "s" : ""}` : "It was the largest of no window"}: ${result}`;
  else words = `Each output that it went into sends its gradient: ${result}`;
  const go = (row, column, relative) => {
    [slide.p, slide.q] = [clamp(relative ? p + row : row, t.height), clamp(relative ? q + column : column, t.width)];
    again(0);
  };
  const toOutput = (row, column) => go(row * t.stride[0] - t.before[0] + t.dilation[0] * (t.size[0] >> 1), column * t.stride[1] - t.before[1] + t.dilation[1] * (t.size[1] >> 1));
  const image = stage(t.x, n * t.channels + c, aroundOf(t), [{ row: p, column: q }], "the image, with a pixel", go);
  const out = stage(t.gy, n * t.outs + o, [0, 0, 0, 0], places.filter((tap) => tap.inside), "the gradient of the output", (row, column, relative) => (relative ? go(row, column, true) : toOutput(row, column)));
  return { image, out, parts, words };
}

/** One number of a kernel: it met every window of the image at its place. */
function kernelView(t, again) {
  const { n, o, c } = chosen(t);
  const [a, b] = [clamp(slide.a, t.size[0]), clamp(slide.b, t.size[1])];
  const pairs = [];
  for (let row = 0; row < t.rows; row++)
    for (let column = 0; column < t.columns; column++) {
      const tap = taps(t, row, column)[a * t.size[1] + b];
      if (tap.inside) pairs.push({ tap, g: t.gs(inY(t, n, o, { row, column })) });
    }
  const sum = dot(pairs.map(({ g }) => g), pairs.map(({ tap }) => t.xs(inX(t, n, c, tap))));
  const slice = o * t.channels + c;
  const move = (row, column, relative) => {
    [slide.a, slide.b] = [clamp(relative ? a + row : row, t.size[0]), clamp(relative ? b + column : column, t.size[1])];
    again(2);
  };
  const image = stage(t.x, n * t.channels + c, aroundOf(t), pairs.map(({ tap }) => ({ ...tap, thin: true })), "the image, with what this number met", (row, column, relative) => relative && move(row, column, true));
  const out = stage(t.gy, n * t.outs + o, [0, 0, 0, 0], [], "the gradient of the output", (row, column, relative) => relative && move(row, column, true));
  const kernel = stage(t.gk, slice, [0, 0, 0, 0], [{ row: a, column: b }], "the gradient of the kernel, with one number", move);
  const words = `Σ of the framed ${t.up ? "gradients, each times what laid the kernel there" : "pixels, each times the gradient of its output"} ≈ ${shown(sum)} for image ${n}; all images together: ${slope("k")}[${[o, c, a, b].join(", ")}] = ${shown(t.gks(inK(t, o, c, { a, b })))}`;
  return { image, out, parts: [make("figure", {}, make("figcaption", {}, `${slope("kernel")} [${o}, ${c}]`), kernel)], words };
}

/** A choice of one of n. */
function choice(label, n, now, change) {
  if (n < 2) return "";
  const select = make("select", { "aria-label": label });
  for (let k = 0; k < n; k++) select.append(make("option", { value: k }, String(k)));
  select.value = now;
  select.addEventListener("change", () => change(Number(select.value)));
  return make("label", {}, `${label} `, select);
}

/** The panel of a step that belongs to a convolution or a pool. */
function slidingPanel(step) {
  const t = slideOf(step);
  if (!t) return "";
  const panel = make("section", { class: "slide", "aria-label": "Window" });
  const views = { forward: forwardView, pixel: pixelView, kernel: kernelView };
  const draw = (focus) => {
    const held = panel.contains(document.activeElement) && document.activeElement.matches("canvas");
    const { n, o, c } = chosen(t);
    const { image, out, parts, words } = views[t.mode](t, draw);
    const look = (image_, channel) => {
      lookAt(t.y, image_ * t.outs + channel);
      refresh();
      draw();
    };
    const button = make("button", { type: "button", class: "small" }, slide.timer ? "Stop" : "Slide");
    button.addEventListener("click", () => slideAlone(t, panel, draw));
    const title = { forward: "One window at a time", pixel: "One pixel at a time", kernel: "One number of the kernel at a time" }[t.mode];
    const under = (caption, canvas) => make("figure", {}, make("figcaption", {}, caption), canvas);
    panel.replaceChildren(
      make("h3", {}, title),
      make("div", { class: "choices" }, choice("image", shapeOf(t.y)[0], n, (k) => look(k, o)), choice(t.kind === "conv" ? `${t.up ? "input" : "output"} channel` : "channel", t.outs, o, (k) => look(n, k)),
        t.kind === "conv" ? choice(`${t.up ? "output" : "input"} channel`, t.channels, c, (k) => { slide.c = k; draw(); }) : "", button),
      row(under(`${t.names.image}[${n}, ${c}]`, image), ...parts, sign("→"), under(`${t.names.out}[${n}, ${o}]`, out)),
      make("p", { class: "sum" }, words),
    );
    if (held && focus !== undefined) panel.querySelectorAll("canvas")[t.mode === "kernel" ? 1 : focus ? panel.querySelectorAll("canvas").length - 1 : 0].focus();
    if (held) say(words);
  };
  panel.refresh = draw;
  draw();
  return panel;
}

/** Let the window go on by itself, until it is stopped or another step is shown. */
function slideAlone(t, panel, draw) {
  clearInterval(slide.timer);
  slide.timer = slide.timer ? 0 : setInterval(() => {
    if (!panel.isConnected) {
      clearInterval(slide.timer);
      slide.timer = 0;
      return;
    }
    const [row, column, rows, columns] = { forward: ["i", "j", t.rows, t.columns], pixel: ["p", "q", t.height, t.width], kernel: ["a", "b", ...t.size] }[t.mode];
    const next = (clamp(slide[row], rows) * columns + clamp(slide[column], columns) + 1) % (rows * columns);
    [slide[row], slide[column]] = [Math.floor(next / columns), next % columns];
    draw();
  }, 500);
  draw();
}
