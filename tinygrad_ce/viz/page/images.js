// Large arrays and images: a picture of all of it that moves a window of numbers, and a histogram.

const TILES = 16; // slices side by side in one picture

// --- colours ---------------------------------------------------------------------------------

/** The page's own colours, as numbers. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  const hex = (text) => [1, 3, 5].map((k) => parseInt(text.length > 4 ? text.slice(k, k + 2) : text[(k + 1) / 2].repeat(2), 16));
  return { pos: read("--pos").split(" ").map(Number), neg: read("--neg").split(" ").map(Number), soft: hex(read("--soft")),
    glow: hex(read("--glow")), frame: read("--glow"), line: read("--line"), paper: read("--paper") };
}

/** Whether an array is drawn in grey: an image, or a map on which nothing is below 0. */
const isGrey = (win) => win.k === "grey" || (win.k === "map" && !finite(win).some((x) => x < 0));

/** `colour(x)`: grey from the least to the largest number, or the sign's colour by its size. */
function colours(win) {
  const { pos, neg, soft, glow } = palette();
  const all = finite(win).concat(win.t ? finite(win.t) : []);
  const low = all.reduce((a, b) => Math.min(a, b), Infinity);
  const high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const size = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const mix = (to, share) => soft.map((c, k) => Math.round(c + (to[k] - c) * share));
  if (isGrey(win)) {
    const bottom = win.k === "map" ? Math.min(0, low) : low;
    return (x) => (typeof x === "number" ? Array(3).fill(Math.round((255 * (x - bottom)) / (high - bottom || 1))) : glow);
  }
  return (x) => {
    if (typeof x !== "number") return x === "∞" ? pos : x === "−∞" ? neg : glow;
    return x ? mix(x > 0 ? pos : neg, 0.1 + (0.9 * Math.abs(x)) / size) : soft;
  };
}

// --- the picture -----------------------------------------------------------------------------

/** Whether the three channels of an image are its colours. */
const isColoured = (win) => win.k === "grey" && shapeOf(win).length > 3 && shapeOf(win)[shapeOf(win).length - 3] === 3;

/** The slices that are drawn side by side: those of the last axis before the matrix, around the one looked at. */
function tilesOf(win) {
  const shape = shapeOf(win);
  const count = shape.length > 2 ? shape[shape.length - 3] : 1;
  const now = sliceOf(win);
  const first = now - (now % count);
  const there = Math.min(count, stored(win)[0] - first);
  const start = Math.max(0, Math.min((now % count) - TILES / 2, there - TILES));
  return Array.from({ length: Math.min(there, TILES) }, (_, k) => first + start + k);
}

/** How the tiles of a picture are laid out: columns of tiles, and the pixels of one element. */
function gridOf(win, tiles, width = 300) {
  const [, rows, columns] = win.t ? [0, ...win.t.s] : planes(shapeOf(win));
  const across = tiles === 1 ? 1 : Math.min(tiles, Math.max(1, Math.round(Math.sqrt((tiles * rows) / columns) * 1.25)));
  const most = tiles === 1 ? 12 : 8;
  const k = Math.max(1, Math.min(most, Math.floor((width - 3 * (across - 1)) / (across * columns)), tiles === 1 ? Math.max(2, Math.floor(220 / rows)) : 99));
  return { across, k, rows, columns, down: Math.ceil(tiles / across), pitch: [rows * k + 3, columns * k + 3] };
}

/** A canvas with the picture of an array. It has `spot(event)`, `draw(marked)` and `grid`. */
function picture(win, options = {}) {
  const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": `picture of ${options.label || "an array"}` });
  canvas.draw = (marked) => drawPicture(canvas, win, marked);
  canvas.spot = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const { grid, tiles } = canvas;
    const [x, y] = [((event.clientX - left) / width) * canvas.width, ((event.clientY - top) / height) * canvas.height];
    const tile = Math.floor(y / grid.pitch[0]) * grid.across + Math.floor(x / grid.pitch[1]);
    const [row, column] = [Math.floor((y % grid.pitch[0]) / grid.k), Math.floor((x % grid.pitch[1]) / grid.k)];
    if (x < 0 || y < 0 || !(tile in tiles) || row >= grid.rows || column >= grid.columns) return null;
    const [, rows, columns] = planes(shapeOf(win));
    const [high, wide] = [Math.ceil(rows / grid.rows), Math.ceil(columns / grid.columns)]; // of a block of a thumbnail
    return { slice: tiles[tile], row: row * high, column: column * wide };
  };
  canvas.draw();
  return canvas;
}

function drawPicture(canvas, win, marked) {
  const coloured = isColoured(win);
  const now = sliceOf(win);
  const tiles = coloured ? [now - (now % 3)] : tilesOf(win);
  const grid = gridOf(win, tiles.length);
  Object.assign(canvas, { tiles, grid });
  canvas.width = grid.across * grid.pitch[1] - 3;
  canvas.height = grid.down * grid.pitch[0] - 3;
  const context = canvas.getContext("2d");
  const { frame } = palette();
  const colour = colours(win);
  const source = win.t ? { s: win.t.s, d: win.t.d } : win;
  const at = reader(source);
  const size = grid.rows * grid.columns;
  const corner = (tile) => [(tile % grid.across) * grid.pitch[1], Math.floor(tile / grid.across) * grid.pitch[0]];
  tiles.forEach((slice, tile) => {
    const [x, y] = corner(tile);
    for (let place = 0; place < size; place++) {
      const value = (channel) => at((win.t ? 0 : slice + channel) * size + place);
      const rgb = coloured ? [0, 1, 2].map((channel) => colour(value(channel) ?? 0)[0]) : colour(value(0) ?? "nan");
      context.fillStyle = `rgb(${rgb})`;
      context.fillRect(x + (place % grid.columns) * grid.k, y + Math.floor(place / grid.columns) * grid.k, grid.k, grid.k);
    }
  });
  context.strokeStyle = frame;
  outline(context, win, grid, corner(Math.max(0, tiles.indexOf(now))));
  if (marked && !win.t) markElements(context, tiles, grid, corner, marked);
}

/** The frame of the window of numbers. */
function outline(context, win, grid, [x, y]) {
  const [, rows, columns] = planes(shapeOf(win));
  const [[top, high], [left, wide]] = extentOf(win);
  const [a, b] = [(grid.k * grid.rows) / rows, (grid.k * grid.columns) / columns];
  context.lineWidth = 2;
  if (high < rows || wide < columns) context.strokeRect(x + left * b + 1, y + top * a + 1, Math.max(3, wide * b - 2), Math.max(3, high * a - 2));
  else if (canvasHasTiles(win)) context.strokeRect(x + 1, y + 1, grid.columns * grid.k - 2, grid.rows * grid.k - 2);
}

const canvasHasTiles = (win) => !isColoured(win) && tilesOf(win).length > 1;

/** Elements that belong to the one under the pointer. */
function markElements(context, tiles, grid, corner, marked) {
  const size = grid.rows * grid.columns;
  context.lineWidth = 1.5;
  tiles.forEach((slice, tile) => {
    const [x, y] = corner(tile);
    for (let place = 0; place < size; place++)
      if (marked(slice * size + place))
        context.strokeRect(x + (place % grid.columns) * grid.k + 0.5, y + Math.floor(place / grid.columns) * grid.k + 0.5, grid.k - 1, grid.k - 1);
  });
}

/** The place of an element in its array. */
function placeOf(win, { slice, row, column }) {
  const [, rows, columns] = planes(shapeOf(win));
  return (slice * rows + row) * columns + column;
}

/** What is said of one element: its index and its number. */
function told(win, spot, options) {
  const index = unravel(placeOf(win, spot), win.s);
  const value = reader(win)(placeOf(win, spot));
  const text = options.hidden ? "?" : value === undefined ? "not on this page" : win.b ? (value ? "true" : "false") : shown(value, options.whole);
  return `[${index.join(", ")}] = ${text}`;
}

/** The picture of an array with what it answers to: pointer and arrow keys move the window of numbers. */
function movable(win, space, options) {
  const canvas = picture(win, options);
  canvas.dataset.space = space;
  const says = make("div", { class: "more reads" }, "\u00a0");
  const read = (spot) => { says.textContent = spot ? told(win, spot, options) : "\u00a0"; };
  const choose = (spot, middle) => {
    if (!isColoured(win)) lookAt(win, spot.slice);
    moveTo(win, spot.row, spot.column, middle);
    refresh(canvas.closest("figure"));
    read(spot);
  };
  let held = false;
  canvas.addEventListener("pointerdown", (event) => {
    const spot = canvas.spot(event);
    held = Boolean(spot);
    if (spot) choose(spot, true);
  });
  canvas.addEventListener("pointermove", (event) => {
    const spot = canvas.spot(event);
    if (!(event.buttons & 1)) held = false;
    if (held && spot) choose(spot, true);
    read(spot);
    canvas.dataset.i = spot ? placeOf(win, spot) : "";
  });
  canvas.addEventListener("pointerleave", () => { read(null); canvas.dataset.i = ""; });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [, rows, columns] = stored(win);
    const [[top], [left]] = extentOf(win);
    const last = canvas.cursor || { row: top, column: left };
    const stride = event.shiftKey ? 5 : 1;
    const within = (x, n) => Math.max(0, Math.min(n - 1, x));
    canvas.cursor = { slice: sliceOf(win), row: within(last.row + stride * way[0], rows), column: within(last.column + stride * way[1], columns) };
    choose(canvas.cursor, false);
    say(says.textContent);
  });
  return [canvas, says];
}

// --- histogram -------------------------------------------------------------------------------

/** [least, largest, counts...] of an array, or nothing for one that is all the same. */
function histogramOf(win) {
  if (win.h) return win.h;
  const all = finite(win);
  const low = all.reduce((a, b) => Math.min(a, b), Infinity);
  const high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!(high > low)) return [];
  const counts = Array(24).fill(0);
  for (const x of all) counts[Math.min(23, Math.floor((24 * (x - low)) / (high - low)))] += 1;
  return [low, high, ...counts];
}

function histogram(win) {
  const [low, high, ...counts] = histogramOf(win);
  if (!counts.length) return "";
  const most = Math.max(...counts);
  const bars = counts.map((n, k) => {
    const from = low + ((high - low) * (k + 0.5)) / counts.length;
    const height = n ? Math.max(1, (30 * n) / most) : 0;
    return shape("rect", { x: k * 6, y: 30 - height, width: 5, height, class: from < 0 ? "neg" : "pos" }, shape("title", {}, `${n} near ${shown(from)}`));
  });
  const label = `histogram from ${shown(low)} to ${shown(high)}`;
  const drawn = shape("svg", { viewBox: `0 0 ${counts.length * 6} 30`, width: counts.length * 6, height: 30, role: "img", "aria-label": label }, ...bars);
  return make("div", { class: "histogram" }, drawn, make("div", { class: "more" }, make("span", {}, shown(low)), make("span", {}, shown(high))));
}
