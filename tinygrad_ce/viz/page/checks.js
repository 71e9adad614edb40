// What is said of numbers is checked again after an edit, by the same rule as in Python, or not said any more.

const CLASSES = 8; // so many of the y are listed

/** Whether a gradient is (p − y)/N with p a softmax or a sigmoid of the value: what is said of it, or nothing. */
function residual(value, gradient) {
  const { shape, data: z, type } = value;
  const g = gradient.data;
  const n = shape[0];
  if (z.length < 2 || shape.length > 2 || shape.join() !== gradient.shape.join() || ![...z, ...g].every(Number.isFinite)) return undefined;
  const classes = shape.length === 2 && shape[1] > 1;
  const p = classes ? softmaxRows(z, shape[1]) : Array.from(z, (x) => 1 / (1 + Math.exp(-x)));
  if (!g.some((x) => x) || !p.some((x) => x > 1e-6 && x < 1 - 1e-6)) return undefined; // nothing to see
  const y = p.map((x, k) => Math.round(x - n * g[k]));
  const difference = p.reduce((most, x, k) => Math.max(most, Math.abs(n * g[k] - (x - y[k]))), 0);
  if (difference > (type === "float64" ? 1e-9 : 1e-5) || !y.every((one) => one * one === one)) return undefined;
  const rows = Array.from({ length: n }, (_, r) => y.slice((r * y.length) / n, ((r + 1) * y.length) / n));
  if (classes && rows.some((row) => row.reduce((a, b) => a + b, 0) !== 1)) return undefined;
  const first = rows.slice(0, CLASSES).map((row) => (classes ? row.indexOf(1) : row[0] + 0));
  return { of: classes ? "softmax" : "sigmoid", N: n, d: difference / n, y: first.join(", ") + (n > CLASSES ? ", …" : "") };
}

function softmaxRows(z, columns) {
  const e = [];
  for (let from = 0; from < z.length; from += columns) {
    const row = Array.from(z.slice(from, from + columns));
    const top = Math.max(...row);
    const total = row.reduce((sum, x) => sum + Math.exp(x - top), 0);
    for (const x of row) e.push(Math.exp(x - top) / total);
  }
  return e;
}

/** What a step says about p − y: what Python has found, or what holds now. */
function saidOf(step) {
  if (!isMoved()) return step.is;
  if (!step.p) return undefined;
  const { v, g } = story.tensors[step.x];
  return v.num === undefined || g?.num === undefined ? undefined : residual(valueOf(v.num), valueOf(g.num));
}
