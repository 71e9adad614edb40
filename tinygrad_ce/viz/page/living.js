// What is played as a program that can be run again: an edited leaf changes every number behind it.

/** The program of the page, or why there is none. */
const live = { why: story.fixed || "", given: [], start: null, values: null, past: [] };
if (story.live) {
  const missing = engine.missing(story.live);
  if (missing) live.why = `the page has no entry for the operation ${missing}`;
  else live.given = story.live.given.map(engine.decode);
  live.first = [...live.given];
}
live.why &&= `The numbers of this page cannot be edited: ${live.why}.`;

let training = null; // how the page trains, if it does

const windows = []; // every window onto a value of the program
(function collect(told) {
  if (!told || typeof told !== "object") return;
  if (told.num !== undefined && told.s) {
    told.was = { d: told.d, parts: { w: told.w, of: told.of, h: told.h, t: told.t } };
    windows.push(told);
  }
  Object.values(told).forEach(collect);
})([story.tensors, story.steps, story.slides]);

/** The value of a number of the story, as it is now; `values` may be those of the start. */
const valueOf = (i, values = live.values) => values[story.live.out[i]];

/** Whether the numbers of now are not those of the start. */
const isEdited = () => Boolean(live.past.length);

const differs = (a, b) => a !== b && (a === a || b === b);

/** Whether a tensor that is given has other numbers than at the start: a learning rate is none. */
const isMoved = () => !live.why && story.live.leaves.some(({ i }) => live.given[i].data.some((x, k) => differs(x, live.first[i].data[k])));

/** What reads the numbers of the page besides the step that is shown. */
const afterEdit = [updateCards, updateTitle, updateLeaves];

/** Run the program on what is given at the start. */
function compute() {
  live.start ??= engine.run(story.live, live.given);
  live.values ??= live.start;
}

/** Compute every number anew and show what has become of it. */
function recompute() {
  live.values = engine.run(story.live, live.given);
  display();
}

/** Show the numbers of now. */
function display() {
  for (const win of windows) updateWindow(win);
  for (const update of afterEdit) update();
  show();
}

/** One window: its numbers, its summary, and which elements have changed since the start. */
function updateWindow(win) {
  const [now, start] = [valueOf(win.num), valueOf(win.num, live.start)];
  const changed = new Set();
  for (let k = 0; k < now.data.length; k++) if (differs(now.data[k], start.data[k])) changed.add(k);
  win.x = changed;
  for (const [part, value] of Object.entries(win.was.parts)) win[part] = changed.size ? undefined : value; // else all are there
  whenRead(win, "d", () => (changed.size ? Array.from(now.data, (x) => plain(x, now.type)) : win.was.d));
}

/** Let a property be computed when it is first read. */
function whenRead(told, name, f) {
  const define = (more) => Object.defineProperty(told, name, { configurable: true, enumerable: true, ...more });
  define({ get: () => {
    const value = f();
    define({ value });
    return value;
  } });
}

/** The texts of cards that are numbers: { text, was, room, win, words }. */
const written = [];
for (const [id, t] of Object.entries(story.tensors)) {
  const card = document.getElementById(id);
  const texts = [...(card?.querySelectorAll("text.t11") || [])];
  const isRed = (text) => text.getAttribute("fill") === "#dc2626";
  for (const [text, win, words] of [[texts.find((one) => !isRed(one)), t.v, valueText], [texts.find(isRed), t.g, gradientText]])
    if (text && win?.num !== undefined) written.push({ text, was: text.textContent, room: roomFor(text, card), win, words });
}

/** How wide a text on a card may be: up to the next one on its line, or to the border. */
function roomFor(text, card) {
  const place = (element, name) => Number(element.getAttribute(name));
  const after = text.nextElementSibling;
  const end = after && place(after, "y") === place(text, "y") ? place(after, "x") - 3 : boxOf(card).right - 5;
  return end - place(text, "x");
}

/** How wide numbers of 11 px are in Arial: nothing has to be laid out for that. */
const widthOf = (words) => [...words].reduce((sum, letter) => sum + (/[.,\[\] ]/.test(letter) ? 3.06 : letter === "−" ? 6.43 : 6.12), 0);

/** The numbers on the cards, narrower where they would not fit. */
function updateCards() {
  for (const { text, was, room, win, words } of written) {
    let now = win.x.size ? words(valueOf(win.num)) : was;
    if (now !== was && widthOf(now) > room && now.startsWith("[")) now = listText(valueOf(win.num), 2 - story.digits);
    if (now === text.textContent) continue;
    text.textContent = now;
    const tight = now !== was && widthOf(now) > room;
    for (const [name, value] of [["textLength", room], ["lengthAdjust", "spacingAndGlyphs"]])
      if (tight) text.setAttribute(name, value);
      else text.removeAttribute(name);
  }
  for (const [id, t] of Object.entries(story.tensors)) {
    if (t.g?.num !== undefined) t.norm = gradientText(valueOf(t.g.num));
    const marked = !training || !stepCount.get(); // a step of training changes them all
    document.getElementById(id)?.classList.toggle("changed", marked && Boolean(t.v.x?.size || t.g?.x?.size));
  }
  if (svg) refold();
}

/** The loss in the title. */
function updateTitle() {
  const root = Object.values(story.tensors).at(-1);
  if (root.v.num === undefined || !story.title.includes(" = ")) return;
  const title = root.v.x.size ? `${story.loss} = ${valueText(valueOf(root.v.num))}` : story.title;
  document.title = title;
  document.querySelector("h1").textContent = title;
}

/** The gradients that the last step lists. */
function updateLeaves() {
  story.live.listed.forEach((i, k) => { if (i !== null) story.leaves[k][2] = gradientText(valueOf(i)); });
}

// --- edits -----------------------------------------------------------------------------------

/** Let leaves hold other numbers: a map from a leaf to its data. It can be undone, `again` with the edit before. */
function edit(changes, again) {
  compute();
  const before = heldBy([...changes.keys()]);
  assign(changes);
  try {
    live.values = engine.run(story.live, live.given);
  } catch (error) { // an index that was computed is none
    assign(before);
    throw error;
  }
  if (!again) live.past.push(before);
  display();
}

/** What leaves hold; some know it themselves. */
const heldBy = (leaves) => new Map(leaves.map((leaf) => [leaf, leaf.get ? leaf.get() : live.given[leaf.i].data]));

/** Keep what leaves hold, so that what follows can be undone. */
function remember(leaves) {
  live.past.push(heldBy(leaves));
}

function assign(changes) {
  for (const [leaf, data] of changes)
    if (leaf.put) leaf.put(data);
    else live.given[leaf.i] = { ...live.given[leaf.i], data };
}

/** Take the last edit back. */
function undo() {
  if (training) training.stop();
  if (!isEdited()) return;
  assign(live.past.pop());
  recompute();
}

/** Take all edits back. */
function restart() {
  if (training) training.stop();
  if (!isEdited()) return;
  while (live.past.length) assign(live.past.pop());
  recompute();
}
