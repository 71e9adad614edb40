// Numbers of leaves are edited where they stand: click and type, drag sideways, or arrow keys.

const RECORDED = "The page runs the operations that were recorded: what Python decided on the way (if, while, a random draw) is not decided anew.";

/** What an edited cell is: { leaf, place, card, at }, the place in the leaf and on its card. */
function spotOf(td) {
  const card = td?.closest("table[data-card]")?.dataset.card;
  if (!card || td.dataset.i === undefined) return null;
  const at = Number(td.dataset.i);
  const leaf = leafAt(card, at);
  return leaf ? { leaf, place: at - leaf.o, card, at } : null;
}

/** Whether the numbers on a card can be edited. */
function isEditable(card) {
  return !live.why && Boolean(leafAt(card, 0));
}

const numberAt = ({ leaf, place }) => live.given[leaf.i].data[place];
const typeOf = ({ leaf }) => live.given[leaf.i].type;
const isWholeType = (type) => type === "bool" || type.includes("int");

/** The name and index of an edited number: x[0, 1]. */
function spotName({ leaf, place, card }) {
  const index = unravel(place, live.given[leaf.i].shape);
  return (leaf.n || nameOf(card)) + (index.length ? `[${index.join(", ")}]` : "");
}

/** The number that a text says, and what is wrong with it. */
function readNumber(text, spot) {
  const words = text.trim().replaceAll("−", "-").replace(",", ".");
  if (!words) return { wrong: "Nothing is written: wanted a number such as −0.25." };
  if (typeOf(spot) === "bool" && /^(true|false)$/i.test(words)) return { x: Number(/^t/i.test(words)) };
  const [top, bottom = "1", more] = words.split("/").map((part) => part.trim());
  const isNumber = (part) => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(part);
  if (more !== undefined || !isNumber(top) || !isNumber(bottom)) return { wrong: `“${short(text.trim())}” is no finite number: wanted one such as −0.25 or 1/3.` };
  const x = Number(top) / Number(bottom);
  const wrong = refused(spot.leaf, x);
  return wrong ? { wrong: `${spotName(spot)}: ${wrong}.` } : { x };
}

// --- one number ------------------------------------------------------------------------------

const editing = { spot: null, first: null }; // the number whose field is open; what a drag began with

/** Let one number be another; `again` adds to the last edit. Gives what is wrong with it, or "". */
function assignNumber(spot, x, again) {
  if (x === numberAt(spot)) return "";
  const data = live.given[spot.leaf.i].data.with(spot.place, x);
  try {
    edit(new Map([[spot.leaf, data]]), again);
  } catch ({ message }) {
    return `${spotName(spot)}: got ${x}; ${message}.`;
  }
  const root = Object.values(story.tensors).at(-1).v;
  const loss = root.num === undefined ? "" : `; ${story.loss} = ${valueText(valueOf(root.num))}`;
  say(`${spotName(spot)} = ${numberText(x, typeOf(spot))}${loss}`);
  return "";
}

/** The cell of a spot in what is shown now. */
function cellOf({ card, at: place }) {
  return at("step").querySelector(`table[data-card="${card}"] td[data-i="${place}"]`);
}

/** Open a field in the place of a number. */
function openField(spot, text = plainText(spot)) {
  const td = cellOf(spot);
  if (!td) return;
  const field = make("input", { class: "field", "aria-label": spotName(spot), autocomplete: "off", spellcheck: "false", inputmode: "text" });
  field.value = text;
  editing.spot = null; // a field that makes way for this one is not taken
  td.replaceChildren(field);
  editing.spot = spot;
  field.addEventListener("keydown", fieldKey);
  field.addEventListener("blur", () => closeField(field));
  field.focus({ preventScroll: true });
  if (text === plainText(spot)) field.select();
}

/** All digits of a number, so that nothing is lost where it is left as it is. */
const plainText = (spot) => (typeOf(spot) === "bool" ? numberText(numberAt(spot), "bool") : String(typeOf(spot) === "float32" ? shortest(numberAt(spot)) : numberAt(spot)));

/** The shortest decimal that is this float32. */
function shortest(x) {
  for (let digits = 1; digits < 10; digits++) if (Math.fround(Number(x.toPrecision(digits))) === x) return Number(x.toPrecision(digits));
  return x;
}

/** Take what is written, if it is a number; else say what is wrong. */
function takeField(field, again) {
  const { spot } = editing;
  let { x, wrong } = field.value === plainText(spot) ? { x: numberAt(spot) } : readNumber(field.value, spot);
  wrong ||= assignNumber(spot, engine.stored([x], typeOf(spot), [1]).data[0], again);
  if (wrong) complain(field, wrong);
  return !wrong;
}

function complain(field, wrong) {
  const figure = field.closest("figure");
  figure.querySelector(".wrong")?.remove();
  field.setAttribute("aria-invalid", Boolean(wrong));
  if (!wrong) return;
  figure.append(make("div", { class: "wrong no" }, wrong));
  say(wrong);
}

function fieldKey(event) {
  event.stopPropagation();
  const { key, target, shiftKey } = event;
  const { spot } = editing;
  const way = { ArrowUp: 1, ArrowDown: -1 }[key];
  if (way) {
    event.preventDefault();
    const { x, wrong } = readNumber(target.value, spot);
    const next = nudged(spot, wrong ? numberAt(spot) : x, way * (shiftKey ? 10 : 1));
    editing.spot = null;
    assignNumber(spot, next);
    openField(spot);
  } else if (key === "Enter" || key === "Escape") {
    event.preventDefault();
    if (key === "Enter" && !takeField(target)) return;
    editing.spot = null;
    show();
    cellOf(spot)?.focus();
  }
}

/** A field that is left is taken, if it is a number; if not, the number stays what it was. */
function closeField(field) {
  if (!editing.spot || !field.isConnected) return;
  const ok = takeField(field);
  editing.spot = null;
  if (ok) show();
  else field.parentNode.textContent = shown(plain(numberAt(spotOf(field.parentNode)), typeOf(spotOf(field.parentNode))));
}

/** A number a few steps further, a step being about a hundredth of it. */
function nudged(spot, x, count) {
  const type = typeOf(spot);
  if (type === "bool") return 1 - x;
  if (isWholeType(type)) return Math.min(Math.max(x + count, spot.leaf.most === undefined ? -EXACT : 0), spot.leaf.most ?? EXACT);
  const step = 10 ** (Math.floor(Math.log10(Math.max(Math.abs(x), 0.1) * 1.0000001)) - 1);
  return Number((Math.round(x / step + count) * step).toPrecision(12));
}

// --- pointer and keys ------------------------------------------------------------------------

/** Drag sideways: 4 pixels are a step. */
function startDrag(event) {
  const spot = spotOf(event.target.closest("td"));
  if (!spot || event.button || event.target.matches("input")) return;
  const { clientX: from, pointerId } = event;
  const first = numberAt(spot);
  let [moved, count, wanted] = [false, 0, 0];
  const apply = () => {
    count = wanted;
    assignNumber(spot, engine.stored([nudged(spot, first, count)], typeOf(spot), [1]).data[0], moved === "yes");
    moved = "yes";
  };
  const move = (now) => {
    if (now.pointerId !== pointerId) return;
    if (!(now.buttons & 1)) return end();
    wanted = Math.trunc((now.clientX - from) / 4);
    if (wanted === count) return;
    document.documentElement.classList.add("dragging");
    if (!moved) getSelection()?.removeAllRanges();
    moved ||= "soon";
    cancelAnimationFrame(startDrag.frame);
    startDrag.frame = requestAnimationFrame(apply);
  };
  const end = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    document.documentElement.classList.remove("dragging");
    if (moved) startDrag.until = performance.now() + 50; // the click that ends a drag is none
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
}

function clickCell(event) {
  const spot = spotOf(event.target.closest("td"));
  if (!spot || event.target.matches("input") || performance.now() < startDrag.until) return;
  activate(spot);
}

/** What a click or Enter on a number does: a truth value switches, of others a field opens. */
function activate(spot) {
  if (typeOf(spot) !== "bool") return openField(spot);
  assignNumber(spot, 1 - numberAt(spot));
  cellOf(spot)?.focus();
}

/** Enter or a digit opens the field of a cell. */
function cellKey(event) {
  const spot = event.target.matches("td") && spotOf(event.target);
  if (!spot || event.ctrlKey || event.metaKey || event.altKey) return;
  const typed = /^[-−.\d]$/.test(event.key);
  if (!typed && event.key !== "Enter" && event.key !== "F2") return;
  event.preventDefault();
  event.stopPropagation();
  if (typed && typeOf(spot) !== "bool") openField(spot, event.key);
  else activate(spot);
}

function undoKey(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "z" || event.target.matches("input:not([type=range])")) return;
  event.preventDefault();
  undo();
}

/** What stands above the step while numbers are edited. */
function editsBar() {
  const button = (words, action) => {
    const made = make("button", { type: "button", class: "small" }, words);
    made.addEventListener("click", () => {
      action();
      if (!isEdited()) at("next").focus();
    });
    return made;
  };
  const bar = make("div", { id: "edits", hidden: true, role: "group", "aria-label": "Edits" });
  bar.append(button("Undo", undo), button("Back to the start", restart), make("span", {}, "What has changed is underlined. "), make("span", {}, RECORDED));
  afterEdit.push(() => { bar.hidden = !isEdited(); });
  at("step").before(bar);
}

if (!live.why) {
  editsBar();
  const box = at("step");
  box.addEventListener("pointerdown", startDrag);
  box.addEventListener("click", clickCell);
  box.addEventListener("keydown", cellKey);
  addEventListener("keydown", undoKey);
  document.querySelector(".keys").append(" · click or drag a number of an input or a parameter to change it · ", make("kbd", {}, "Ctrl"), " ", make("kbd", {}, "Z"), " undo");
}
