// Arrays as small heat tables, and which elements light up together.

const minus = (text) => text.replace(/-/g, "−");

/** One number, three digits: what a cell shows. */
function shown(x, whole) {
  if (typeof x === "string") return minus(x); // ∞, nan, and integers that a number would round
  if (whole) return minus(String(x));
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e4 || size < 1e-3) {
    const [digits, power] = x.toExponential(2).split("e");
    return minus(`${Number(digits)}e${Number(power)}`);
  }
  return minus(String(Number(x.toPrecision(3))));
}

const shapeText = (shape) => (shape.length ? shape.join(" × ") : "scalar");
const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

/** Slices, rows and columns of a whole shape. */
function planes(shape) {
  const columns = shape.length ? shape[shape.length - 1] : 1;
  const rows = shape.length > 1 ? shape[shape.length - 2] : 1;
  return [sizeOf(shape.slice(0, -2)), rows, columns];
}

/** The index of a flat place, such as [2, 1]. */
function unravel(place, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(place % shape[axis]);
    place = Math.floor(place / shape[axis]);
  }
  return index;
}

/** The flat places that a window shows, in the order of its data. */
function places(win) {
  const [, rows, columns] = planes(win.s);
  const [slices, seenRows, seenColumns] = win.w || planes(win.s);
  const all = [];
  for (let s = 0; s < slices; s++)
    for (let r = 0; r < seenRows; r++)
      for (let c = 0; c < seenColumns; c++) all.push((s * rows + r) * columns + c);
  return all;
}

/** An element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  element.append(...children);
  return element;
}

/**
 * A table of an array. `space` says which elements its cells are: two tables of one space light up
 * at the same places; `plan` has their shape. Options: caption, note, whole, copy, hidden, label.
 */
function heat(win, space, options = {}) {
  const [slices, rows, columns] = win.w || planes(win.s);
  const size = Math.max(...win.d.filter((x) => typeof x === "number").map(Math.abs), 0);
  const at = places(win);
  const body = make("div", { class: "scroll" });
  const draw = (slice) => {
    const table = make("table", { "aria-label": options.label, tabindex: at.length ? 0 : undefined });
    for (let r = 0; r < rows; r++) {
      const row = make("tr");
      for (let c = 0; c < columns; c++) {
        const k = (slice * rows + r) * columns + c;
        row.append(cell(win, win.d[k], at[k], size, options));
      }
      table.append(row);
    }
    table.dataset.space = space;
    body.replaceChildren(table);
  };
  draw(0);
  const figure = make("figure", { class: [options.copy && "copy", options.hidden && "hidden"].filter(Boolean).join(" ") || undefined });
  const caption = make("figcaption", {}, ...(options.caption || []));
  caption.append(make("span", {}, ` ${shapeText(win.s)}`));
  figure.append(caption);
  if (slices > 1) figure.append(chooser(win, slices, draw));
  figure.append(sizeOf(win.s) ? body : make("span", { class: "more" }, "empty"));
  if (win.w) figure.append(make("div", { class: "more" }, windowText(win, options.hidden)));
  if (options.note) figure.append(make("div", { class: "more" }, options.note));
  return figure;
}

/** One cell, tinted by its sign and size. */
function cell(win, x, place, size, options) {
  const td = make("td", { tabindex: -1 });
  td.dataset.i = place;
  if (options.hidden) {
    td.textContent = "?";
    return td;
  }
  td.textContent = win.b ? (x ? "true" : "false") : shown(x, options.whole);
  if (typeof x === "number" && x && !win.b && !options.whole) {
    td.className = x > 0 ? "pos" : "neg";
    td.style.setProperty("--a", (Math.abs(x) / size).toFixed(2));
  }
  return td;
}

/** Which slice of an array of three or more dimensions is shown. */
function chooser(win, slices, draw) {
  const lead = win.s.slice(0, -2);
  const select = make("select", { "aria-label": "slice" });
  for (let s = 0; s < slices; s++)
    select.append(make("option", { value: s }, `[${unravel(s, lead).join(", ")}, :, :]`));
  select.addEventListener("change", () => draw(Number(select.value)));
  return select;
}

/** What part of a large array a table shows, and what is in all of it. */
function windowText(win, hidden) {
  const [slices, rows, columns] = win.w;
  const [, allRows, allColumns] = planes(win.s);
  const part = `rows 1–${rows} of ${allRows}, columns 1–${columns} of ${allColumns}`;
  const lead = slices < sizeOf(win.s.slice(0, -2)) ? `, first ${slices} slices` : "";
  return hidden || !win.of ? `${part}${lead}` : `${part}${lead}; all: ${win.of}`;
}

// --- which element belongs to which ----------------------------------------------------------

/** Whether element i of an operand goes into element j of the output. */
function feeds(map, inner, outer, i, j) {
  if (map === "e") return project(unravel(j, outer), inner) === i;
  const [kind, argument] = map;
  if (kind === "ix") return argument[j] === i;
  if (kind === "sum") {
    const all = unravel(i, inner).filter((_, axis) => !argument.includes(axis));
    const kept = unravel(j, outer);
    const rest = outer.length === inner.length ? kept.filter((_, axis) => !argument.includes(axis)) : kept;
    return all.join() === rest.join();
  }
  return enters(kind, argument, inner, outer, i, j);
}

/** Whether element i of a factor, the left one (0) or the right one (1), goes into element j of the product. */
function enters(kind, position, own, product, i, j) {
  if (own.length < 2) return true; // all of a vector goes into each element
  const [, rows, columns] = planes(own);
  if (kind === "in") return Math.floor(i / columns) === (position ? j % product[1] : Math.floor(j / product[1]));
  // For a factor that is a vector the product lacks an axis: here it gets it back, with length 1.
  const [lead, last] = [product.slice(0, -1), product.slice(-1)];
  const whole = product.length >= own.length ? product : position ? [...lead, 1, ...last] : [...product, 1];
  if (!sameMatrix(own, whole, i, j)) return false;
  const [, , across] = planes(whole);
  return position ? i % columns === j % across : Math.floor(i / columns) % rows === Math.floor(j / across) % rows;
}

/** Whether two elements stand in matrices of two stacks that belong together. */
function sameMatrix(left, right, i, j) {
  const matrix = (shape, place) => unravel(Math.floor(place / sizeOf(shape.slice(-2))), shape.slice(0, -2)).reverse();
  const [a, b] = [matrix(left, i), matrix(right, j)];
  return a.every((at, k) => k >= b.length || at === b[k] || left[left.length - 3 - k] === 1 || right[right.length - 3 - k] === 1);
}

/** The flat place that a broadcast operand has under an index of the output. */
function project(index, shape) {
  let place = 0;
  shape.forEach((n, axis) => {
    const at = index[index.length - shape.length + axis];
    place = place * n + (n === 1 ? 0 : at);
  });
  return place;
}

/** Whether element i of the left and j of the right factor of a matrix product meet. */
function meet(kind, left, right, i, j) {
  if (!sameMatrix(left, right, i, j)) return false;
  const k = i % left[left.length - 1];
  const columns = right[right.length - 1];
  if (kind === "in") return k === j % columns;
  return right.length < 2 ? k === j : k === Math.floor(j / columns) % right[right.length - 2];
}

/** Light up what belongs to one cell. `related(space, i, other, j)` knows. */
function light(root, cellHit, related) {
  for (const lit of root.querySelectorAll(".lit")) lit.classList.remove("lit");
  if (!cellHit) return;
  const from = cellHit.closest("table").dataset.space;
  const i = Number(cellHit.dataset.i);
  for (const table of root.querySelectorAll("table[data-space]"))
    for (const td of table.querySelectorAll("td"))
      if (related(from, i, table.dataset.space, Number(td.dataset.i))) td.classList.add("lit");
}
