// The graph: what is known so far, folding, zooming and moving about.

const SVG = "http://www.w3.org/2000/svg";
const svg = document.getElementById("graph");
const view = svg && document.getElementById("view");
const HEAD = 9; // of an arrow: the room next to a card that is never squeezed

/** An SVG element with attributes and children. */
function shape(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The cluster around something, if it is drawn: without an engine none is. */
function outerOf(g) {
  const id = `c${g.dataset.c}`;
  return svg.querySelector(`#clusters > #${id}`) ? id : null;
}

/** The numbers of a box: left, top, right, bottom. */
function boxOf(group) {
  const rect = group.querySelector("rect");
  const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
  return { left: x, top: y, right: x + w, bottom: y + h };
}

const cards = new Map();
const clusters = new Map();
const edges = [];
const folded = new Set();
const CORNER = 40; // the height of the buttons that lie on the graph

/** Make something that is drawn a button. */
function pressable(g, tabindex, more = {}) {
  for (const [name, value] of Object.entries({ role: "button", tabindex, ...more })) g.setAttribute(name, value);
}

function readGraph() {
  for (const g of svg.querySelectorAll("#cards > .card")) pressable(g, -1);
  for (const title of svg.querySelectorAll(".title"))
    pressable(title, 0, { "aria-expanded": true, "aria-label": title.parentNode.dataset.name });
  for (const g of svg.querySelectorAll("#clusters > .cluster"))
    clusters.set(g.id, { g, box: boxOf(g), outer: outerOf(g), title: g.querySelector(".title").getBBox().width + 20 });
  for (const g of svg.querySelectorAll("#cards > .card"))
    cards.set(g.id, { g, box: boxOf(g), outer: outerOf(g) });
  for (const g of svg.querySelectorAll("#edges > .edge")) {
    for (const path of g.querySelectorAll("path")) path.classList.add("path");
    for (const part of g.querySelectorAll('[stroke="#f87171"], [fill="#f87171"], text')) part.classList.add("red");
    const texts = [...g.querySelectorAll("text")].map((t) => {
      const { x, y, width, height } = t.getBBox();
      return { t, box: { left: x, top: y, right: x + width, bottom: y + height } };
    });
    const lines = [...g.querySelectorAll("path, polygon")].map((line) => {
      const name = line.tagName === "path" ? "d" : "points";
      return { line, name, text: line.getAttribute(name) };
    });
    edges.push({ g, from: g.dataset.a, to: g.dataset.b, texts, lines });
  }
  for (const [id, card] of cards)
    for (let c = card.outer; c; c = clusters.get(c).outer) {
      const cluster = clusters.get(c);
      if (story.tensors[id].op || !cluster.last) cluster.last = id;
      cluster.count = (cluster.count || 0) + (story.tensors[id].op ? 1 : 0);
    }
  svg.removeAttribute("viewBox");
}

/** The outermost folded cluster around something, or null. */
function foldedAround(outer) {
  let found = null;
  for (let c = outer; c; c = clusters.get(c).outer) if (folded.has(c)) found = c;
  return found;
}

/** What stands for a card: itself, or the folded cluster that it is in. */
const standIn = (id) => foldedAround(cards.get(id).outer) || id;

// --- folding ---------------------------------------------------------------------------------

/** The card of a folded cluster, made when it is first needed. */
function foldedCard(id) {
  const cluster = clusters.get(id);
  if (cluster.card) return cluster.card;
  const last = cards.get(cluster.last).g;
  const kind = cluster.g.classList.contains("module") ? "module" : "function";
  const g = shape("g", { class: `card call ${kind}`, id: `f${id}`, role: "button", tabindex: 0, "aria-expanded": "false" });
  const rect = cluster.g.querySelector("rect").cloneNode();
  rect.setAttribute("stroke-width", 2);
  const name = shape("text", { class: "t14 b", fill: "#0f172a" }, `⊞ ${cluster.g.dataset.name}`);
  const size = shape("text", { class: "t9", fill: "#4b5a70" }, `${cluster.count} operation${cluster.count === 1 ? "" : "s"}`);
  const words = [[name, size]];
  if (cluster.g.dataset.formula)
    words.push([shape("text", { class: "t10 i", fill: "#0f172a" }, cluster.g.dataset.formula)]);
  for (const text of last.querySelectorAll("text.t11")) words.push([text.cloneNode(true)]);
  g.append(rect, ...words.flat());
  g.setAttribute("aria-label", `${cluster.g.dataset.name}, folded: ${size.textContent}`);
  svg.querySelector("#cards").append(g);
  cluster.card = { g, words };
  return cluster.card;
}

/** Make the cards of folded clusters anew: what their last card says has changed. */
function refold() {
  const made = [...clusters.values()].filter((cluster) => cluster.card);
  for (const cluster of made) {
    cluster.card.g.remove();
    cluster.card = null;
  }
  if (made.length) layout();
}

/** Give a folded card its size: its words are measured where they are shown. */
function measure(id) {
  const cluster = clusters.get(id);
  const card = foldedCard(id);
  card.g.style.display = "";
  const width = (row) => row.reduce((sum, text) => sum + text.getComputedTextLength() + 14, 10);
  const w = Math.max(...card.words.map(width));
  const h = 14 + 18 * card.words.length;
  const spine = cards.get(cluster.last).box;
  const left = (spine.left + spine.right - w) / 2;
  const top = below(id, cluster.box, h);
  card.box = { left, top, right: left + w, bottom: top + h };
}

/** The top of a folded card: below what it is computed from, as far as its cluster reaches. */
function below(id, box, h) {
  const inside = (card) => { for (let c = cards.get(card).outer; c; c = clusters.get(c).outer) if (c === id) return true; return false; };
  const above = edges
    .filter((edge) => inside(edge.to) && !inside(edge.from))
    .map((edge) => cards.get(edge.from).box.bottom + 30)
    .filter((bottom) => bottom + h <= box.bottom);
  return Math.max(box.top, ...above);
}

/** What may not be squeezed, from top to bottom and from left to right, as lists of [start, end]. */
function taken() {
  const rows = [];
  const columns = [];
  const keep = (box, room) => {
    rows.push([box.top - room, box.bottom + room]);
    columns.push([box.left - room, box.right + room]);
  };
  for (const card of cards.values()) if (!foldedAround(card.outer)) keep(card.box, HEAD);
  for (const [id, cluster] of clusters) {
    const { left, top, right, bottom } = cluster.box;
    if (foldedAround(cluster.outer)) continue;
    if (folded.has(id)) keep(cluster.card.box, 0);
    else {
      keep({ left, top, right: left + cluster.title, bottom: top + 34 }, 0);
      keep({ left: right - 12, top: bottom - 12, right, bottom }, 0);
    }
  }
  for (const edge of edges)
    if (standIn(edge.from) === edge.from && standIn(edge.to) === edge.to)
      for (const { box } of edge.texts) keep(box, 2);
  return [rows, columns];
}

/** Where each coordinate goes once the gaps between what is taken are squeezed. */
function squeeze(spans, room) {
  spans.sort((a, b) => a[0] - b[0]);
  const points = [[0, 0]];
  let end = 0;
  for (const [start, stop] of spans) {
    if (start > end) {
      const gap = folded.size ? Math.min(start - end, room) : start - end;
      points.push([start, points[points.length - 1][1] + gap]);
      end = start;
    }
    if (stop > end) {
      points.push([stop, points[points.length - 1][1] + stop - end]);
      end = stop;
    }
  }
  points.push([end + 16, points[points.length - 1][1] + 16]);
  return bend(points);
}

/** A coordinate on the way between two of the points. */
function bend(points) {
  return (y) => {
    let k = 1;
    while (k < points.length - 1 && points[k][0] < y) k++;
    const [a, fa] = points[k - 1];
    const [b, fb] = points[k];
    return b === a ? fa : fa + ((y - a) / (b - a)) * (fb - fa);
  };
}

/** Show the graph with its clusters folded as they are now. */
function layout() {
  for (const [id, cluster] of clusters) {
    if (folded.has(id) && !foldedAround(cluster.outer)) measure(id);
    else if (cluster.card) cluster.card.g.style.display = "none";
  }
  const [rows, columns] = taken();
  const [fx, fy] = [squeeze(columns, 30), squeeze(rows, 24)];
  const moved = (box) => {
    const [left, top] = [fx(box.left), fy(box.top)];
    return { left, top, right: left + box.right - box.left, bottom: top + box.bottom - box.top };
  };
  for (const card of cards.values()) {
    card.g.style.display = foldedAround(card.outer) ? "none" : "";
    card.at = moved(card.box);
    shift(card.g, card.box, card.at);
  }
  for (const [id, cluster] of clusters) place(id, cluster, fx, fy, moved);
  const seen = new Set();
  for (const edge of edges) join(edge, fx, fy, seen);
}

/** Move a group from one box to another. */
function shift(g, from, to) {
  g.setAttribute("transform", `translate(${(to.left - from.left).toFixed(1)} ${(to.top - from.top).toFixed(1)})`);
}

/** One cluster: its frame where it is open, its card where it is folded. */
function place(id, cluster, fx, fy, moved) {
  const hidden = foldedAround(cluster.outer);
  const { left, top, right, bottom } = cluster.box;
  cluster.g.style.display = hidden || folded.has(id) ? "none" : "";
  cluster.at = { left: fx(left), top: fy(top), right: fx(right), bottom: fy(bottom) };
  shift(cluster.g.querySelector(".title"), cluster.box, cluster.at);
  frame(cluster.g.querySelector("rect"), cluster.at);
  if (hidden || !folded.has(id)) return;
  const { card } = cluster;
  card.at = moved(card.box);
  frame(card.g.querySelector("rect"), card.at);
  card.words.forEach((row, k) => {
    row[0].setAttribute("x", card.at.left + 10);
    if (row[1]) {
      row[1].setAttribute("x", card.at.right - 10);
      row[1].setAttribute("text-anchor", "end");
    }
    for (const text of row) text.setAttribute("y", card.at.top + 20 + 18 * k);
  });
}

/** Give a box its place and its size. */
function frame(rect, { left, top, right, bottom }) {
  for (const [name, value] of [["x", left], ["y", top], ["width", right - left], ["height", bottom - top]])
    rect.setAttribute(name, value.toFixed(1));
}

/** One edge: bent with the rest, or drawn anew to a folded card. */
function join(edge, fx, fy, seen) {
  const from = standIn(edge.from);
  const to = standIn(edge.to);
  if (edge.straight) edge.straight.remove();
  edge.straight = null;
  const own = from === edge.from && to === edge.to;
  edge.g.style.display = own ? "" : "none";
  if (own) {
    for (const { line, name, text } of edge.lines) line.setAttribute(name, bent(text, fx, fy));
    for (const { t, box } of edge.texts) shift(t, box, { left: fx(box.left), top: fy(box.top) });
  } else if (from !== to && !seen.has(`${from} ${to}`)) {
    seen.add(`${from} ${to}`);
    edge.straight = straight(spot(from), spot(to), edge.g.classList.contains("flow"));
    edge.straight.dataset.a = edge.from;
    edge.straight.dataset.b = edge.to;
    svg.querySelector("#edges").append(edge.straight);
  }
}

/** Where a card or the card of a folded cluster stands. */
const spot = (id) => (cards.get(id) || clusters.get(id).card).at;

/** Coordinates, x and y in turn, sent to where they go. */
function bent(text, fx, fy) {
  let turn = 0;
  return text.replace(/-?\d+(\.\d+)?/g, (x) => (turn++ % 2 ? fy : fx)(Number(x)).toFixed(1));
}

/** A curve from the bottom of one card to the top of another, or between their sides. */
function straight(a, b, flows) {
  const middle = (box) => (box.left + box.right) / 2;
  const down = b.top >= a.bottom;
  const [x1, y1, x2, y2] = down
    ? [middle(a), a.bottom, middle(b), b.top]
    : middle(a) < middle(b)
      ? [a.right, (a.top + a.bottom) / 2, b.left, (b.top + b.bottom) / 2]
      : [a.left, (a.top + a.bottom) / 2, b.right, (b.top + b.bottom) / 2];
  const [dx, dy] = down ? [0, (y2 - y1) / 2] : [(x2 - x1) / 2, 0];
  const curve = (o) => `M${x1 + o},${y1}C${x1 + o + dx},${y1 + dy} ${x2 + o - dx},${y2 - dy} ${x2 + o},${y2}`;
  const g = shape("g", { class: `edge${flows ? " flow" : ""}` });
  const line = (color, offset, extra) => shape("path", { d: curve(offset), fill: "none", stroke: color, class: `path ${extra}` });
  g.append(line("#475569", flows ? -1 : 0, ""), head(x2, y2, dx, dy, 1, "#475569", ""));
  if (flows) g.append(line("#f87171", 1, "red"), head(x1, y1, dx, dy, -1, "#f87171", "red"));
  if (!flows) g.querySelector("path").setAttribute("stroke-dasharray", "5,2");
  return g;
}

/** An arrow head at the end (1) or the start (−1) of a curve. */
function head(x, y, dx, dy, sign, color, extra) {
  const n = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [(sign * dx) / n, (sign * dy) / n];
  const back = [x - 7 * ux, y - 7 * uy];
  const side = [-uy * 2.6, ux * 2.6];
  const points = [[x, y], [back[0] + side[0], back[1] + side[1]], [back[0] - side[0], back[1] - side[1]]];
  return shape("polygon", { points: points.map((p) => p.map((v) => v.toFixed(1)).join()).join(" "), fill: color, class: extra });
}

/** Fold or unfold one cluster, and keep it where the reader looks. */
function fold(id, on) {
  if (on) folded.add(id);
  else folded.delete(id);
  layout();
  const target = on ? clusters.get(id).card.g : clusters.get(id).g.querySelector(".title");
  target.focus({ preventScroll: true });
  redraw();
}

function foldAll(on) {
  for (const id of clusters.keys()) if (on) folded.add(id);
  if (!on) folded.clear();
  layout();
  redraw();
  fit();
}

// --- zooming and moving ----------------------------------------------------------------------

const camera = { x: 0, y: 0, k: 1 };
let framing = null; // what a new size of the window calls: nothing once the reader has moved or zoomed

function aim() {
  view.style.transform = `translate(${camera.x}px,${camera.y}px) scale(${camera.k})`;
}

/** The box around all that is to be seen, with a margin. */
function extent() {
  const seen = [];
  for (const card of cards.values()) if (!foldedAround(card.outer)) seen.push(card.at);
  for (const [id, cluster] of clusters)
    if (!foldedAround(cluster.outer)) seen.push(folded.has(id) ? cluster.card.at : cluster.at);
  const most = (side, sign) => Math.max(...seen.map((box) => sign * box[side])) * sign + 16 * sign;
  return { left: most("left", -1), top: most("top", -1), right: most("right", 1), bottom: most("bottom", 1) };
}

/** Show a box at a size: in the middle, or where it does not fit from its top and left. */
function look(box, k) {
  const { width, height } = svg.getBoundingClientRect();
  camera.k = k;
  camera.x = Math.max(0, (width - (box.right - box.left) * k) / 2) - box.left * k;
  camera.y = Math.max(0, (height - CORNER - (box.bottom - box.top) * k) / 2) - box.top * k;
  aim();
}

/** As large as the width allows, so that words can be read; the top first. */
function fitWidth() {
  framing = fitWidth;
  const box = extent();
  look(box, Math.min(1.15, Math.max(0.62, svg.getBoundingClientRect().width / (box.right - box.left))));
}

/** The whole graph. */
function fit() {
  framing = fit;
  const box = extent();
  const { width, height } = svg.getBoundingClientRect();
  look(box, Math.min(1.3, width / (box.right - box.left), (height - CORNER) / (box.bottom - box.top)));
}

function zoom(factor, px, py) {
  framing = null;
  const { width, height } = svg.getBoundingClientRect();
  const [cx, cy] = px === undefined ? [width / 2, height / 2] : [px, py];
  const k = Math.min(4, Math.max(0.05, camera.k * factor));
  camera.x = cx - ((cx - camera.x) * k) / camera.k;
  camera.y = cy - ((cy - camera.y) * k) / camera.k;
  camera.k = k;
  aim();
}

function move(dx, dy) {
  framing = null;
  camera.x += dx;
  camera.y += dy;
  aim();
}

/** Bring cards into the middle, if they are not in view already, or as far as there is some graph around. */
function follow(ids) {
  const { x, y } = camera;
  bring(ids.map((id) => spot(standIn(id))));
  const { width, height } = svg.getBoundingClientRect();
  const box = extent();
  if (camera.x !== x) camera.x = filling(camera.x, box.left, box.right, width);
  if (camera.y !== y) camera.y = filling(camera.y, box.top, box.bottom, height - CORNER);
  aim();
}

/** Of cards that are too far apart, the last are left out: the first one is what changes. */
function bring(boxes) {
  const { width, height } = svg.getBoundingClientRect();
  if (!boxes.length || !width) return;
  const reach = (from, to) => (Math.max(...boxes.map((b) => b[to])) - Math.min(...boxes.map((b) => b[from]))) * camera.k;
  if (boxes.length > 1 && (reach("top", "bottom") > height - 60 || reach("left", "right") > width - 8)) return bring(boxes.slice(0, -1));
  const left = Math.min(...boxes.map((b) => b.left)) * camera.k + camera.x;
  const right = Math.max(...boxes.map((b) => b.right)) * camera.k + camera.x;
  const top = Math.min(...boxes.map((b) => b.top)) * camera.k + camera.y;
  const bottom = Math.max(...boxes.map((b) => b.bottom)) * camera.k + camera.y;
  if (top < 12 || bottom > height - 48) camera.y += height / 2 - (top + bottom) / 2;
  if (left < 4 || right > width - 4) camera.x += width / 2 - (left + right) / 2;
  aim();
}

/** A place of the camera at which a graph that is larger than its window fills it. */
function filling(at, start, end, room) {
  if ((end - start) * camera.k < room) return at;
  return Math.min(-start * camera.k, Math.max(room - end * camera.k, at));
}

function steer() {
  const touches = new Map();
  let gap = 0;
  let far = 0;
  const release = (event) => {
    touches.delete(event.pointerId);
    gap = 0;
    if (!touches.size) setTimeout(() => svg.classList.remove("held"));
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return; // only the main button moves the graph
    touches.set(event.pointerId, event);
    far = 0;
    gap = 0;
  });
  svg.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    if (!(event.buttons & 1)) return release(event); // it was let go outside of the graph
    const rect = svg.getBoundingClientRect();
    touches.set(event.pointerId, event);
    const [a, b] = [...touches.values()];
    if (b) {
      const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (gap) zoom(now / gap, (a.clientX + b.clientX) / 2 - rect.left, (a.clientY + b.clientY) / 2 - rect.top);
      gap = now;
    }
    const share = b ? 2 : 1;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    far += Math.hypot(dx, dy);
    if (far < 4) return;
    if (!svg.classList.contains("held")) svg.setPointerCapture(event.pointerId);
    svg.classList.add("held");
    move(dx / share, dy / share);
  });
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  svg.addEventListener("wheel", wheel, { passive: false });
}

/** The wheel moves the graph as far as there is some to be seen; after that, the page around it. */
function wheel(event) {
  const rect = svg.getBoundingClientRect();
  const zooms = event.ctrlKey || event.metaKey;
  const [dx, dy] = event.shiftKey ? [event.deltaX + event.deltaY, 0] : [event.deltaX, event.deltaY];
  const box = extent();
  const x = within(dx, box.left * camera.k + camera.x, box.right * camera.k + camera.x - rect.width);
  const y = within(dy, box.top * camera.k + camera.y, box.bottom * camera.k + camera.y - rect.height + CORNER);
  if (!zooms && !(Math.abs(dx) > Math.abs(dy) ? x : y)) return;
  event.preventDefault();
  svg.classList.add("still");
  if (zooms) zoom(Math.exp(-event.deltaY / 200), event.clientX - rect.left, event.clientY - rect.top);
  else move(-x, -y);
  clearTimeout(wheel.timer);
  wheel.timer = setTimeout(() => svg.classList.remove("still"), 150);
}

/** So much of a distance as is hidden there: `before` is below 0, or `after` above, by what is hidden. */
const within = (by, before, after) => (by > 0 ? Math.min(by, Math.max(0, after)) : Math.max(by, Math.min(0, before)));

/** What has the keyboard's attention must be seen. */
function bringFocus(target) {
  const title = target.closest(".title");
  const card = target.closest(".card");
  if (title) {
    const rect = title.parentNode.querySelector("rect");
    const [left, top] = [Number(rect.getAttribute("x")), Number(rect.getAttribute("y"))];
    bring([{ left, top, right: left + 120, bottom: top + 34 }]);
  } else if (card) bring([spot(card.id.replace(/^f/, ""))]);
}

/** What a click, Enter or Space on a card or a title does. */
function press(target) {
  if (svg.classList.contains("held")) return;
  const title = target.closest(".title");
  const card = target.closest(".card");
  if (title) fold(title.parentNode.id, true);
  else if (card && card.classList.contains("call")) fold(card.id.slice(1), false);
  else if (card) {
    if (!story.tensors[card.id].op) lightWay(card.id);
    visit(card.id);
  }
}
