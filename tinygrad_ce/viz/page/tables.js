// Arrays as small heat tables, and which elements light up together.

const minus = (text) => text.replace(/-/g, "−");

const SLIM = 60; // pixels: the picture of a few columns, which has its numbers beside it

/** One number, with as many digits as the story has: what a cell shows. */
function shown(x, whole) {
  if (typeof x === "string") return minus(x); // ∞, nan, and integers that a number would round
  if (whole) return minus(String(x));
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e4 || size < 1e-3) {
    const [digits, power] = x.toExponential(story.digits - 1).split("e");
    return minus(`${Number(digits)}e${Number(power)}`);
  }
  return minus(String(Number(x.toPrecision(story.digits))));
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

/** The flat places of the numbers that are stored, in their order. */
function places(win) {
  const [, rows, columns] = planes(shapeOf(win));
  const [slices, seenRows, seenColumns] = stored(win);
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
 * A table of an array, of a large one or an image with a picture. `space` says which elements its
 * cells are: two tables of one space light up at the same places. `win` has a shape `s` and numbers
 * `d`; more of it in arrays.py. Options: caption, note, whole, copy, hidden, label.
 */
function heat(win, space, options = {}) {
  const figure = make("figure", { class: [options.copy && "copy", options.hidden && "hidden"].filter(Boolean).join(" ") || undefined });
  figure.append(make("figcaption", {}, ...(options.caption || []), make("span", {}, ` ${shapeText(win.s)}`)));
  if (!sizeOf(win.s)) {
    figure.append(make("span", { class: "more" }, "empty"));
    return figure;
  }
  const choose = stored(win)[0] > 1 && chooser(win, figure);
  const [canvas, says] = isPicture(win) && !options.hidden ? movable(win, space, options) : [];
  const slim = canvas && canvas.width < SLIM;
  const body = make("div", { class: "scroll" });
  const part = make("div", { class: "more" });
  const open = canvas && win.k && !isFewNumbers(win) && numbersButton(figure);
  const bars = sizeOf(win.s) > FULL * FULL && !options.hidden && !win.b && histogram(win);
  const art = canvas && make("div", { class: `art ${slim ? "slim" : ""}` }, canvas, slim ? body : bars || "");
  figure.append(...[choose, art, says, open, !slim && body, part, (!canvas || slim) && bars].filter(Boolean));
  figure.refresh = () => {
    if (choose) choose.refresh();
    if (canvas) canvas.draw();
    if (open) open.setAttribute("aria-expanded", looking.numbers);
    body.replaceChildren(...(open && !looking.numbers ? [] : [numbers(win, space, options)]));
    part.textContent = windowText(win, options.hidden, !body.childNodes.length);
  };
  figure.refresh();
  if (options.note) figure.append(make("div", { class: "more" }, options.note));
  return figure;
}

/** The numbers of an array that are looked at. */
function numbers(win, space, options) {
  const [, rows, columns] = planes(shapeOf(win));
  const [[top, high], [left, wide]] = extentOf(win);
  const size = finite(win).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const at = reader(win);
  const table = make("table", { "aria-label": options.label, tabindex: high * wide ? 0 : undefined });
  for (let r = top; r < top + high; r++) {
    const row = make("tr");
    for (let c = left; c < left + wide; c++) {
      const place = (sliceOf(win) * rows + r) * columns + c;
      row.append(cell(win, at(place), place, size, options));
    }
    table.append(row);
  }
  table.dataset.space = space;
  if (options.card) table.dataset.card = options.card;
  return table;
}

/** One cell, tinted by its sign and size. */
function cell(win, x, place, size, options) {
  const td = make("td", { tabindex: -1 });
  if (win.x?.has(place)) td.className = "changed";
  td.dataset.i = place;
  if (options.hidden) {
    td.textContent = "?";
    return td;
  }
  td.textContent = win.b ? (x ? "true" : "false") : shown(x, options.whole);
  if (typeof x === "number" && x && !win.b && !options.whole) {
    td.classList.add(x > 0 ? "pos" : "neg");
    td.style.setProperty("--a", (Math.abs(x) / size).toFixed(2));
  }
  return td;
}

/** Which slice of an array of three or more dimensions is shown: one choice for each axis before the matrix. */
function chooser(win, figure) {
  const axes = leading(shapeOf(win));
  const all = stored(win)[0];
  const selects = axes.map(({ size, key }, axis) => {
    const after = axes.slice(axis + 1).reduce((n, other) => n * other.size, 1);
    const there = Math.min(size, Math.ceil(all / after));
    if (size === 1) return null;
    const select = make("select", { "aria-label": win.as ? "image" : `slice, axis ${axis}` });
    for (let k = 0; k < there; k++) select.append(make("option", { value: k }, String(k)));
    select.addEventListener("change", () => {
      looking.slices.set(key, Number(select.value));
      refresh(figure);
    });
    return select;
  });
  const shown = selects.map((select) => select || "0");
  const box = make("div", { class: "slices" }, ...(win.as ? ["image ", ...selects.filter(Boolean)] : ["[", ...shown.flatMap((part) => [part, ", "]), ":, :]"]));
  box.refresh = () => {
    const index = unravel(sliceOf(win), axes.map(({ size }) => size));
    selects.forEach((select, axis) => { if (select) select.value = index[axis]; });
  };
  return box;
}

/** A button that shows the numbers of images, of all at once. */
function numbersButton(figure) {
  const button = make("button", { type: "button", class: "small" }, "Numbers");
  button.addEventListener("click", () => {
    looking.numbers = !looking.numbers;
    refresh(figure);
  });
  return button;
}

/** What part of a large array a table shows, and what is in all of it. */
function windowText(win, hidden, closed) {
  const [slices, rows, columns] = planes(shapeOf(win));
  const [[top, high], [left, wide]] = extentOf(win);
  const spans = [];
  if (high < rows && !closed) spans.push(`rows ${top}–${top + high - 1} of ${rows}`);
  if (wide < columns && !closed) spans.push(`columns ${left}–${left + wide - 1} of ${columns}`);
  if (stored(win)[0] < slices) spans.push(`the first ${stored(win)[0]} of ${slices} slices are on this page`);
  else if (win.t) spans.push("on this page are the first ones; the picture shows the largest of each block");
  const all = win.of && !hidden ? `all: ${win.of}` : "";
  return [spans.join(", "), all].filter(Boolean).join("; ");
}

// --- which element belongs to which ----------------------------------------------------------

/** Whether element i of an operand goes into element j of the output. */
function feeds(map, inner, outer, i, j) {
  if (map === "e") return project(unravel(j, outer), inner) === i;
  const [kind, argument, num] = map;
  if (kind === "flat") return i === j;
  if (kind === "ix") return (num !== undefined && isEdited() ? valueOf(num).data[j] - 1 : argument[j]) === i;
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

/** Light up what belongs to one cell, or to one element of a picture. `related(space, i, other, j)` knows. */
function light(root, hit, related) {
  for (const lit of root.querySelectorAll(".lit")) lit.classList.remove("lit");
  const from = hit && hit.closest("[data-space]").dataset.space;
  const i = hit && hit.dataset.i !== "" && hit.dataset.i !== undefined ? Number(hit.dataset.i) : null;
  for (const canvas of root.querySelectorAll("canvas[data-space]"))
    canvas.draw(i === null ? null : (j) => related(from, i, canvas.dataset.space, j));
  if (i === null) return;
  for (const table of root.querySelectorAll("table[data-space]"))
    for (const td of table.querySelectorAll("td"))
      if (related(from, i, table.dataset.space, Number(td.dataset.i))) td.classList.add("lit");
}
