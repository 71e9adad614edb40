// What of an array is stored, and which slice and which window of it are looked at.

const SEEN = [6, 6]; // rows and columns of the window
const FULL = 8; // of a matrix with more than FULL² numbers so many rows and columns are shown in full
const WIDE = 10; // and of a smaller one

// --- numbers as they are stored --------------------------------------------------------------

/** What JSON.parse makes of a packed array: one with the list `d` of its numbers. The pool comes first. */
function unpacked(key, win) {
  if (key === "pool") unpacked.pool = win;
  if (!win || typeof win !== "object" || (win.p ?? win.i) === undefined || !win.s) return win;
  const { p, i, ...rest } = win;
  const codes = codesOf(i ?? unpacked.pool[p]);
  return { ...rest, d: p === undefined ? codes.map((code) => code - 300000) : codes.map(decimal) };
}

/** Three letters are one number. */
function codesOf(text) {
  const letters = Array.from({ length: 92 }, (_, k) => String.fromCharCode(k + 35)).filter((c) => !"&'<>\\`$".includes(c));
  const value = new Map(letters.map((c, k) => [c, k]));
  const codes = [];
  for (let k = 0; k < text.length; k += 3)
    codes.push((value.get(text[k]) * 85 + value.get(text[k + 1])) * 85 + value.get(text[k + 2]));
  return codes;
}

/** The number of a code: a word, or three digits and a power of ten. */
function decimal(code) {
  if (code < 4) return ["nan", "∞", "−∞", 0][code];
  const digits = (code - 4) % 900;
  const rest = Math.floor((code - 4) / 900);
  return Number(`${rest % 2 ? "-" : ""}${digits + 100}e${Math.floor(rest / 2) - 172}`);
}

/** The shape in which an array is shown. */
const shapeOf = (win) => win.as || win.s;

/** Slices, rows and columns that are there. */
const stored = (win) => win.w || planes(shapeOf(win));

/** `at(place)`: the number at a flat place, or undefined where it is not stored. */
function reader(win) {
  const [, rows, columns] = planes(shapeOf(win));
  const [slices, seenRows, seenColumns] = stored(win);
  return (place) => {
    const [c, r, s] = [place % columns, Math.floor(place / columns) % rows, Math.floor(place / columns / rows)];
    return s < slices && r < seenRows && c < seenColumns ? win.d[(s * seenRows + r) * seenColumns + c] : undefined;
  };
}

// --- what is looked at -----------------------------------------------------------------------

const looking = { slices: new Map(), from: new Map(), numbers: false }; // by the sizes of axes, so that tables move together

/** The axes before the last two, each with a key that axes of this size share: 4, and a second one 4'. */
function leading(shape) {
  const seen = new Map();
  return shape.slice(0, -2).map((size) => {
    seen.set(size, (seen.get(size) || 0) + 1);
    return { size, key: `${size}${"'".repeat(seen.get(size) - 1)}` };
  });
}

/** Which slice of an array is looked at; the first, where that one is not stored. */
function sliceOf(win) {
  const at = leading(shapeOf(win)).reduce((place, { size, key }) => place * size + (looking.slices.get(key) || 0), 0);
  return at < stored(win)[0] ? at : 0;
}

/** Look at one slice, in all tables. */
function lookAt(win, slice) {
  const shape = shapeOf(win);
  const index = unravel(slice, shape.slice(0, -2));
  leading(shape).forEach(({ key }, axis) => looking.slices.set(key, index[axis]));
}

/** How long an axis of a matrix may be that is shown in full. */
function fullAxis(win) {
  const [, rows, columns] = planes(shapeOf(win));
  return rows * columns > FULL * FULL ? FULL : WIDE;
}

/** The first row and column of the window of numbers, and how many there are. */
function extentOf(win) {
  const [, rows, columns] = planes(shapeOf(win));
  const [, there, across] = stored(win);
  const span = (size, seen, most) => {
    if (size <= fullAxis(win)) return [0, seen];
    const n = Math.min(most, seen);
    return [Math.min(looking.from.get(size) || 0, seen - n), n];
  };
  return [span(rows, there, SEEN[0]), span(columns, across, SEEN[1])];
}

/** Move the window of numbers, so that an element is in it, in the middle if it can be. */
function moveTo(win, row, column, middle) {
  const [, ...sizes] = planes(shapeOf(win));
  const [, ...seen] = stored(win);
  extentOf(win).forEach(([from, n], axis) => {
    const at = [row, column][axis];
    let to = Math.min(Math.max(from, at - n + 1), at);
    if (middle) to = at - Math.floor(n / 2);
    looking.from.set(sizes[axis], Math.max(0, Math.min(to, seen[axis] - n)));
  });
}

/** Draw every table anew: another slice or window is looked at, or the colours are others. */
function refresh(...more) {
  for (const figure of new Set([...document.querySelectorAll("figure, .slide"), ...more])) figure.refresh?.();
}

const finite = (win) => win.d.filter((x) => typeof x === "number");

/** Whether an array is shown as a picture, too. */
function isPicture(win) {
  const [, rows, columns] = planes(shapeOf(win));
  return Boolean(win.k) || Math.max(rows, columns) > fullAxis(win);
}

/** Whether the numbers of a slice are so few that they always stand beside the picture. */
const isFewNumbers = (win) => planes(shapeOf(win))[1] <= SEEN[0] && planes(shapeOf(win))[2] <= SEEN[1];
