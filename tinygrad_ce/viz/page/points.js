// Points in the plane, and where the model draws the line: the forward steps on a grid, N points at a time.

const GRID = 48; // rows and columns of the picture
const SIDE = 176; // its size, in CSS pixels
const MARGIN = 0.12; // around the points, of their extent
const SHARE_OF_TIME = 0.5; // that the picture may take of a frame
const HUES = ["59 130 246", "249 115 22", "22 163 74", "168 85 247", "234 179 8", "20 184 166", "236 72 153", "100 116 139", "132 204 22", "239 68 68"];

/** The steps that lead from the points to the scores, as places among the values. */
function stepsBetween(x, score) {
  const { read } = story.live;
  const first = live.given.length;
  const moved = new Set([x]);
  read.forEach(({ operands }, k) => { if (operands.some((i) => moved.has(i))) moved.add(first + k); });
  const wanted = new Set([score]);
  for (let k = read.length - 1; k >= 0; k--)
    if (wanted.has(first + k)) read[k].operands.filter((i) => moved.has(i)).forEach((i) => wanted.add(i));
  return read.map((_, k) => first + k).filter((i) => wanted.has(i) && moved.has(i));
}

/** The scores of other points, as many as there are. */
function scoresAt(points, data) {
  const values = live.values.slice();
  values[points.x] = { ...values[points.x], data };
  for (const i of points.steps) {
    const { op, operands, settings, type } = story.live.read[i - live.given.length];
    values[i] = op(operands.map((j) => values[j]), settings, type);
  }
  return values[points.score];
}

/** Why no boundary is drawn: "" where each score rests on its own point alone. */
function mixes(points) {
  const { data } = live.values[points.x];
  const same = data.map((_, k) => data[k % 2]);
  const alone = scoresAt(points, same).data;
  const own = live.values[points.score].data;
  const columns = own.length / (data.length / 2);
  const near = (a, b) => Math.abs(a - b) <= 1e-4 * (Math.abs(a) + Math.abs(b)) || a === b;
  if (!alone.every((score, k) => near(score, alone[k % columns]))) return "The boundary is not drawn: the model does not treat all points alike, as with dropout.";
  if (!alone.slice(0, columns).every((score, k) => near(score, own[k]))) return "The boundary is not drawn: a score rests on all points together, as with batch normalisation.";
  return "";
}

/** The class of a row of scores, and how sure it is, from 0 to 1. */
function classAt(scores, row, columns, level) {
  if (columns === 1) {
    const far = scores[row] - level;
    return [far > 0 ? 1 : 0, Math.tanh(Math.abs(far))];
  }
  let [best, second] = [0, -1];
  for (let c = 1; c < columns; c++)
    if (scores[row * columns + c] > scores[row * columns + best]) [best, second] = [c, best];
    else if (second < 0 || scores[row * columns + c] > scores[row * columns + second]) second = c;
  return [best, Math.tanh(scores[row * columns + best] - scores[row * columns + second])];
}

/** The class of each point. */
function classesOf({ y, targets }) {
  const { shape, data } = y === undefined ? targets : live.given[y];
  if (shape.length === 2 && shape[1] > 1) return Array.from({ length: shape[0] }, (_, i) => data.slice(i * shape[1], (i + 1) * shape[1]).indexOf(1));
  return Array.from(data, (value) => Math.max(value, 0));
}

/** The square around the points. */
function around(data) {
  const ends = [0, 1].map((axis) => {
    const along = data.filter((_, k) => k % 2 === axis);
    return [along.reduce((a, b) => Math.min(a, b)), along.reduce((a, b) => Math.max(a, b))];
  });
  const half = (0.5 + MARGIN) * Math.max(...ends.map(([low, high]) => high - low), 1e-6);
  return ends.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]);
}

function buildPoints(points) {
  if (points.t) points.targets = engine.decode(points.t);
  points.steps = stepsBetween(points.x, points.score);
  points.extent = around(live.given[points.x].data);
  const canvas = make("canvas", { role: "img", width: 2 * SIDE, height: 2 * SIDE, style: `width:${SIDE}px;height:${SIDE}px` });
  const note = make("p", { class: "note" });
  points.soon = 0;
  points.draw = () => {
    const began = performance.now();
    if (training.going && began < points.soon) return;
    points.extent = training.going ? points.extent : around(live.given[points.x].data);
    note.textContent = mixes(points);
    drawPoints(canvas, points, !note.textContent);
    const took = performance.now() - began;
    points.soon = performance.now() + took / SHARE_OF_TIME - took;
  };
  document.querySelector("#training .views").append(make("figure", { class: "plane" }, canvas, note));
  new MutationObserver(points.draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  afterEdit.push(points.draw);
  points.draw();
}

/** The plane in the colours of the classes, and the points on it. */
function drawPoints(canvas, points, isDrawn) {
  const side = canvas.width;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, side);
  if (isDrawn) {
    context.imageSmoothingEnabled = true;
    context.drawImage(planeOf(points), 0, 0, side, side);
  }
  const [[left, right], [bottom, top]] = points.extent;
  const { data } = live.given[points.x];
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--paper");
  const classes = classesOf(points);
  let wrong = 0;
  classes.forEach((which, i) => {
    const scores = live.values[points.score];
    wrong += classAt(scores.data, i, scores.data.length / classes.length, points.level)[0] !== which;
    context.beginPath();
    context.arc(((data[2 * i] - left) / (right - left)) * side, ((top - data[2 * i + 1]) / (top - bottom)) * side, 7, 0, 7);
    context.fillStyle = `rgb(${HUES[which % HUES.length]})`;
    context.strokeStyle = ink;
    context.lineWidth = 2.5;
    context.fill();
    context.stroke();
  });
  canvas.setAttribute("aria-label", `The ${classes.length} points and the classes of the plane: ${classes.length - wrong} of ${classes.length} points are classed right`);
}

/** The classes of the plane as a small picture: darker where the model is surer. */
function planeOf(points) {
  const n = live.given[points.x].shape[0];
  const [[left, right], [bottom, top]] = points.extent;
  points.image ??= make("canvas", { width: GRID, height: GRID });
  const context = points.image.getContext("2d");
  const picture = context.createImageData(GRID, GRID);
  const batch = live.given[points.x].data.slice();
  const place = (k) => [left + ((k % GRID) + 0.5) / GRID * (right - left), top - (Math.floor(k / GRID) + 0.5) / GRID * (top - bottom)];
  for (let from = 0; from < GRID * GRID; from += n) {
    for (let i = 0; i < n; i++) [batch[2 * i], batch[2 * i + 1]] = place(Math.min(from + i, GRID * GRID - 1));
    const { data } = scoresAt(points, batch);
    for (let i = 0; i < n && from + i < GRID * GRID; i++) {
      const [which, sure] = classAt(data, i, data.length / n, points.level);
      picture.data.set([...HUES[which % HUES.length].split(" ").map(Number), 40 + 120 * sure || 0], 4 * (from + i));
    }
  }
  context.putImageData(picture, 0, 0);
  return points.image;
}
