// The steps: what is shown at each, and the controls.

const steps = story.steps;
const at = (id) => document.getElementById(id);
const state = { step: 0, timer: 0, quiz: false, solved: new Set(), shaped: new Set(), asked: 0, right: 0, first: 0, tries: new Map() };

// --- what is known when ----------------------------------------------------------------------

const madeAt = new Map(); // card -> the step that computes it, or first reads a constant
const arrivals = new Map(); // card -> the steps at which a gradient arrives
steps.forEach((step, k) => {
  if (step.k === "f") madeAt.set(step.y, k);
  for (const { id } of step.k === "f" ? step.x : [])
    if (id && story.tensors[id].role === "constant" && !madeAt.has(id)) madeAt.set(id, k);
  if (step.k === "seed") arrivals.set(step.y, [k]);
  if (step.k === "b") arrivals.set(step.x, [...(arrivals.get(step.x) || []), k]);
});
const known = (id) => (madeAt.get(id) || 0) <= state.step;

/** Whether the quiz hides what arrives at a step. */
const hides = (k) => state.quiz && steps[k].k === "b" && !state.solved.has(k);

/** Whether all of a card's gradient has arrived. */
function complete(id) {
  const came = arrivals.get(id);
  const last = came && came[came.length - 1];
  return Boolean(came) && last <= state.step && !(last === state.step && hides(last));
}

/** What a tensor is called: its name, its expression, or its operation. */
function nameOf(id) {
  const t = story.tensors[id];
  return t.name || t.as || t.op || id;
}

// --- the graph at this step ------------------------------------------------------------------

/** The cards that a step is about: the one that changes, and those that it reads. */
function about(step) {
  if (step.k === "f") return [step.y, step.x.map((x) => x.id).filter(Boolean)];
  if (step.k === "b") return [step.x, [step.y]];
  if (step.k === "seed") return [step.y, []];
  if (step.k === "u") return [step.x ?? null, []];
  return [null, []];
}

/** The folded call that a step lies inside of, so that it changes nothing on the cards that are shown; or null. */
function hiddenIn(step) {
  const [now, [from]] = about(step);
  const call = svg && now && step.k !== "u" && foldedAround(cards.get(now).outer);
  if (!call) return null;
  const seen = step.k === "f" ? clusters.get(call).last === now : step.k === "seed" || standIn(from) !== call;
  return seen ? null : call;
}

/** The next step that changes something, forward (1) or back (−1). */
function beside(way) {
  let k = state.step + way;
  while (steps[k] && hiddenIn(steps[k])) k += way;
  return k;
}

function redraw() {
  if (!svg) return;
  paintWay();
  paintRepeats();
  const inside = hiddenIn(steps[state.step]);
  const told = at("inside");
  told.hidden = !inside;
  told.textContent = inside ? `This step lies inside of ${clusters.get(inside).g.dataset.name}, which is folded.` : "";
  const [now, from] = about(steps[state.step]);
  const nowCard = now && standIn(now);
  const fromCards = from.map(standIn);
  const mark = (g, id, last) => {
    g.classList.toggle("todo", !known(last) && id !== nowCard);
    g.classList.toggle("blank", Boolean(arrivals.get(last)) && !complete(last));
    g.classList.toggle("now", id === nowCard);
    g.classList.toggle("from", fromCards.includes(id) && id !== nowCard);
  };
  for (const [id, card] of cards) {
    mark(card.g, id, id);
    card.g.setAttribute("aria-label", labelOf(id));
  }
  for (const [id, cluster] of clusters) if (cluster.card) mark(cluster.card.g, id, cluster.last);
  for (const edge of edges) {
    const g = edge.straight || edge.g;
    const came = sentAt.get(`${edge.from} ${edge.to}`) ?? Infinity;
    g.classList.toggle("todo", !known(edge.to));
    g.classList.toggle("quiet", came > state.step);
    g.classList.toggle("now", isNow(steps[state.step], edge));
  }
}

/** What a card says without being seen: name, shape, role, and what is known of value and gradient. */
function labelOf(id) {
  const t = story.tensors[id];
  const card = cards.get(id);
  card.rows ??= [...card.g.querySelectorAll("text.t11")];
  const texts = card.rows.map((text) => text.textContent);
  const red = texts.findIndex((text) => /^‖?∇/.test(text));
  const value = red < 0 ? texts : texts.slice(0, red);
  const slopes = red < 0 || !complete(id) ? [] : texts.slice(red);
  const heard = (text) => text.replace(/^‖∇‖/, "length").replace("∇ ", "").replace("⊕", "sum of ");
  return [nameOf(id), t.name && t.op, shapeText(t.v.s), t.role, known(id) && value.length && `value ${value.join(" ")}`, slopes.length && `gradient ${slopes.map(heard).join(", ")}`].filter(Boolean).join(", ");
}

const sentAt = new Map(); // "from to" -> the first step that sends a gradient back on that edge
steps.forEach((step, k) => {
  const key = `${step.x} ${step.y}`;
  if (step.k === "b" && !sentAt.has(key)) sentAt.set(key, k);
});

function isNow(step, edge) {
  if (step.k === "f") return edge.to === step.y;
  return step.k === "b" && edge.from === step.x && edge.to === step.y;
}

/** Go to the step of a card: where it is computed, or from there to where its gradient arrives. */
function visit(id) {
  const came = arrivals.get(id);
  const made = madeAt.get(id) || 0;
  go(made !== state.step && (made || !came) ? made : came ? came[0] : made);
}

// --- parts of a step -------------------------------------------------------------------------

const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);

/** Tables and the signs between them; a sign stays with the table after it. */
function row(...parts) {
  const flow = make("div", { class: "flow" });
  let pair = [];
  for (const part of parts.filter(Boolean)) {
    pair.push(part);
    if (!part.classList.contains("sign")) flow.append(pair.length > 1 ? make("div", { class: "pair" }, ...pair.splice(0)) : pair.pop());
  }
  flow.append(...pair);
  return flow;
}

function mathOf(step) {
  if (!step.m) return "";
  const box = make("div", { class: "math" });
  box.innerHTML = `<math displaystyle="true">${step.m.replaceAll("<d>", story.d).replaceAll("</d>", "</mrow></mfrac>")}</math>`;
  return box;
}

/** ∂L/∂name as words. */
const slope = (name) => `∂${short(story.loss)}/∂${short(name)}`;

/** A name that fits above a table. */
const short = (name) => (name.length > 24 ? `${name.slice(0, 23)}…` : name);

/** A name in a caption: on one line, if it is not long. */
const named = (text) => make("i", { class: text.length < 18 ? "line" : undefined }, text);

/** The caption of a table: the letter in the formula, and what it is in the program. */
function caption(letter, id) {
  const name = short(nameOf(id));
  letter = letter && short(letter);
  return letter && letter !== name ? [named(letter), `\u2002${name}`] : [named(name)];
}

/** The array of an operand: of a card, or of a number that has none. */
const arrayOf = (x) => x.v || story.tensors[x.id].v;

/** Whether a card holds integers or booleans, all digits of which are shown. */
const isWhole = (id) => Boolean(id) && !story.tensors[id].t.startsWith("float");

function valueTable(id, space, letter) {
  const { v } = story.tensors[id];
  const card = isEditable(id) ? id : undefined;
  return heat(v, space, { caption: caption(letter, id), whole: isWhole(id), label: `value of ${nameOf(id)}`, card });
}

const SHARE = "share of "; // before a gradient, of several that are added up
const isShare = (step) => step.share || step.new;

function gradientTable(win, space, letter, hidden, before = "") {
  if (hidden && !state.shaped.has(state.step)) return unknown(before, slope(letter));
  const label = `gradient ${before === SHARE ? before : ""}${slope(letter)}`;
  return heat(win, space, { caption: [before, named(slope(letter))], hidden, label });
}

/** What the quiz asks for, before its shape is known. */
function unknown(...caption) {
  return make("figure", { class: "unknown" }, make("figcaption", {}, ...caption), make("div", {}, "?"));
}

function sourceOf(step) {
  if (step.src === undefined) return story.why ? make("p", { class: "source" }, story.why) : "";
  const [file, line, text, start, end] = story.files[step.src];
  const letters = [...text]; // start and end count characters, of which some are two to JavaScript
  const part = (...ends) => letters.slice(...ends).join("");
  const code = make("code", {}, part(0, start), make("mark", {}, part(start, end)), part(end));
  return make("div", { class: "source" }, `${file}, line ${line}`, code);
}

/** A copy of an operand that is broadcast, as large as the output; null if it is too large. */
function copies(x, step) {
  const own = arrayOf(x);
  const out = story.tensors[step.y].v;
  if (!x.c || own.w || out.as || !own.s.length || sizeOf(own.s) < 2) return null;
  const at = reader(own);
  const d = places(out).map((j) => at(project(unravel(j, out.s), own.s)));
  const win = { s: out.s, d, w: out.w, b: own.b }; // without the output's statistics: the numbers are the operand's
  return heat(win, "y", { copy: true, whole: isWhole(x.id), caption: [`copied along ${x.c}`], label: "the copies" });
}

// --- the steps -------------------------------------------------------------------------------

function endStep() {
  const list = make("table", { class: "list" });
  const cardsOnly = () => Object.entries(story.tensors).filter(([, t]) => !t.op && t.g).map(([id, t]) => [nameOf(id), t.v.s, t.norm]);
  for (const [name, size, norm] of story.leaves ?? cardsOnly())
    list.append(make("tr", {}, make("td", {}, make("b", {}, slope(name))), make("td", {}, shapeText(size)), make("td", {}, norm)));
  const none = !list.children.length;
  return [
    make("h2", {}, none ? "The end" : "Every gradient has arrived"),
    make("p", { class: "why" }, none ? story.none : `These are the slopes of the loss: ${steps.some((step) => step.k === "u") ? "the updates took a small step against each" : "an optimiser takes a small step against each"}.`),
    list,
  ];
}

function seedStep(step) {
  const t = story.tensors[step.y];
  return [
    heading(step.y, "Backward", `starts at ${nameOf(step.y)}`),
    make("p", { class: "why" }, "How much does the loss change when the loss changes by one? By one: this is where the gradients start."),
    row(gradientTable({ s: t.v.s, d: [1] }, "y", story.loss, false)),
  ];
}

function forwardStep(step) {
  const { op } = story.tensors[step.y];
  const tables = [];
  step.x.forEach((x, k) => {
    if (!x.id && !x.v.s.length) return;
    const copied = copies(x, step);
    const name = step.as[k] || "folded";
    const own = x.id ? valueTable(x.id, `x${k}`, step.as[k]) : heat(x.v, `x${k}`, { caption: [named(name)], label: `value of ${name}`, card: x.card && isEditable(x.card) ? x.card : undefined });
    tables.push(copied ? [own, sign("→"), copied] : [own]);
  });
  const infix = tables.length === 2 && op.length < 3;
  const parts = tables.flatMap((table, k) => (k ? [sign(infix ? op : ","), ...table] : table));
  parts.push(sign(infix ? "=" : `${op} →`), valueTable(step.y, "y", step.out));
  const why = step.why && make("p", { class: "why" }, step.why);
  return [heading(step.y, "Forward", nameOf(step.y)), mathOf(step), why, step.slide === undefined ? "" : slidingPanel(step), row(...parts), late(step), sourceOf(step)];
}

/** What a step says after its tables. */
const late = (step) => (step.late ? make("p", { class: "check kink" }, step.late) : "");

/** The heading of a step, and the calls around its card. */
function heading(id, way, words) {
  const around = [];
  for (let c = svg && cards.get(id).outer; c; c = clusters.get(c).outer) around.unshift(clusters.get(c).g.dataset.name);
  return make("h2", {}, make("b", {}, way), ` ${words}`, around.length ? make("small", {}, ` in ${around.join(" › ")}`) : "");
}

function backwardStep(step, k) {
  const [letter, output] = step.as;
  const x = story.tensors[step.x];
  const y = story.tensors[step.y];
  const hidden = hides(k);
  const final = step.new || x.g;
  const parts = [gradientTable(y.g, "y", output, false, "upstream ")];
  if (step.loc && !(step.loc.one && !step.loc.x?.size)) {
    parts.push(sign(y.v.s.length ? "⊙" : "·"), heat(step.loc, "y", { caption: ["slope ", make("i", {}, `∂${output}/∂${letter}`)], label: `slope ∂${output}/∂${letter}` }));
  } else if (step.o) {
    parts.push(sign("with"), valueTable(step.o[0], "o", step.o[1]));
  } else parts.push(sign(step.lab));
  if (step.full) {
    parts.push(sign("="), hidden ? unknown("for each copy") : heat(step.full, "y", { caption: ["for each copy"], label: "product" }));
    parts.push(sign(`Σ ${step.sum} =`));
  } else parts.push(sign("="));
  parts.push(gradientTable(final, "x", letter, hidden, isShare(step) ? SHARE : ""));
  const told = [
    heading(step.y, "Backward", `through ${nameOf(step.y)}, to ${nameOf(step.x)}`),
    mathOf(step),
    step.why && make("p", { class: "why" }, step.why),
    hidden || step.slide === undefined ? "" : slidingPanel(step),
    row(...parts),
    late(step),
  ];
  if (step.old) told.push(accumulation(step, letter, hidden));
  else if (step.new) told.push(make("p", { class: "note" }, `The first of ${x.n} gradients that are added up at ${nameOf(step.x)} (⊕${x.n}).`));
  if (hidden) told.push(question(step, k, final));
  else told.push(...proofs(step, letter));
  return [...told.filter(Boolean), sourceOf(step)];
}

/** Already there + new = accumulated. */
function accumulation(step, letter, hidden) {
  const after = step.now || story.tensors[step.x].g;
  return make("div", {}, make("p", { class: "note" }, `${nameOf(step.x)} was used more than once: gradients are added.`), row(
    heat(step.old, "x", { caption: ["already there"], label: "already there" }), sign("+"),
    hidden ? unknown("new") : heat(step.new, "x", { caption: ["new"], label: "new" }), sign("="),
    hidden ? unknown("accumulated") : heat(after, "x", { caption: ["accumulated ", named(slope(letter))], label: "accumulated" }),
  ));
}

/** What the program checked: (p − y)/N, and the central difference. */
function proofs(step, letter) {
  const told = [];
  const is = saidOf(step);
  if (is) {
    const p = is.of === "softmax" ? `p = softmax(${letter})` : `p = σ(${letter})`;
    told.push(make("p", { class: "said" }, `${slope(letter)} = (p − y)/${is.N} with ${p} and y ${is.of === "softmax" ? "1 at the classes" : "="} ${is.y}: checked, the largest difference is ${shown(is.d)}.`));
  }
  const c = step.ok;
  if (!c || isMoved()) return told; // the central differences were those of the start
  const kind = c.kink ? "kink" : ["open", "off", ""][c.ok + 1];
  const mark = c.kink ? "∠" : ["·", "✗", "✓"][c.ok + 1];
  told.push(make("p", { class: `check ${kind}` }, make("b", {}, mark), ` ${c.text}`));
  return told;
}

// --- showing ---------------------------------------------------------------------------------

const say = (words) => { at("say").textContent = words; };

function words(step) {
  if (step.k === "f") return `forward, ${nameOf(step.y)} from ${step.x.filter((x) => !x.card).map((x) => (x.id ? nameOf(x.id) : "a number")).join(" and ")}`;
  if (step.k === "b") return `backward through ${nameOf(step.y)} to ${nameOf(step.x)}`;
  if (step.k === "u") return `update of ${step.name}`;
  return { start: "what is given", seed: "backward starts", end: "the end" }[step.k];
}

function show() {
  const step = steps[state.step];
  const told = { start: startStep, end: endStep, seed: seedStep, f: forwardStep, b: backwardStep, u: training?.updateStep }[step.k](step, state.step);
  const box = at("step");
  const half = box.querySelector(".quiz input"); // an answer that is being written
  const writes = half === document.activeElement;
  box.className = step.k === "b" || step.k === "seed" ? "g" : step.k;
  box.replaceChildren(...told.filter(Boolean));
  box.querySelector("h2").after(bornWhere(state.step), make("p", { class: "note", id: "inside", hidden: true }));
  if (state.quiz) box.append(make("p", { class: "note" }, quizScore()));
  if (hides(state.step) && state.shaped.has(state.step)) markAsked(box);
  const again = box.querySelector(".quiz input");
  if (half && again && show.last === state.step && half.ariaLabel === again.ariaLabel) {
    again.value = half.value;
    if (writes) again.focus({ preventScroll: true });
  }
  show.last = state.step;
  at("slider").value = state.step;
  at("slider").setAttribute("aria-valuetext", `${state.step} of ${steps.length - 1}: ${words(step)}`);
  at("link").textContent = `${state.step} / ${steps.length - 1}`;
  at("link").href = `#step=${state.step}`;
  at("link").setAttribute("aria-label", `Link to step ${state.step}`);
  for (const id of ["first", "back"]) at(id).setAttribute("aria-disabled", state.step === 0);
  for (const id of ["next", "last"]) at(id).setAttribute("aria-disabled", state.step === steps.length - 1);
  redraw();
}

/** Bring what the step is about into view, if it is not there already. */
function keepInView() {
  const [now, from] = about(steps[state.step]);
  if (svg) follow([now, ...from].filter(Boolean));
}

function go(k) {
  state.step = Math.min(steps.length - 1, Math.max(0, k));
  show();
  keepInView();
  at("pane").scrollTop = 0;
  say(`Step ${state.step} of ${steps.length - 1}: ${words(steps[state.step])}`);
  try {
    history.replaceState(null, "", `#step=${state.step}`);
  } catch { /* a page inside of a notebook has no address of its own */ }
}

function play(on) {
  clearInterval(state.timer);
  const tick = () => {
    if (hides(state.step)) return; // a question is open
    if (state.step === steps.length - 1) play(false);
    else go(beside(1));
  };
  state.timer = on ? setInterval(tick, 1200) : 0;
  at("run").classList.toggle("on", on);
  at("run").setAttribute("aria-label", on ? "Pause" : "Play");
}

const playOrPause = () => {
  if (!state.timer && state.step === steps.length - 1) go(0);
  play(!state.timer);
};

// --- themes ----------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const themes = ["Auto", "Light", "Dark"];

/** Whether what is around the page is dark: a notebook that says so, else the system. */
function darkAround() {
  const notebook = parent === window || origin === "null" ? null : parent.document.body.dataset.jpThemeLight;
  return notebook ? notebook === "false" : dark.matches;
}

function paint() {
  const wanted = at("theme").textContent;
  const isDark = wanted === "Dark" || (wanted === "Auto" && darkAround());
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  refresh();
}

// --- which elements light up -----------------------------------------------------------------

/** Whether two cells of the tables of this step belong together. */
function related(from, i, to, j) {
  if (from === to) return i === j;
  if (from === "tap" || to === "tap") return false;
  const step = steps[state.step];
  if (!step.y) return false;
  const y = story.tensors[step.y].v.s;
  if (step.k === "f") {
    if (to === "y") return into(step, from, i, j, y);
    if (from === "y") return into(step, to, j, i, y);
    return factors(step, from, i, to, j);
  }
  const x = story.tensors[step.x].v.s;
  if (from === "o" || to === "o") return other(step, from, i, to, j, x, y);
  if (!step.map) return false;
  return from === "x" ? feeds(step.map, x, y, i, j) : feeds(step.map, x, y, j, i);
}

function into(step, space, i, j, y) {
  const x = step.x[Number(space.slice(1))];
  return Boolean(x && x.m) && feeds(x.m, arrayOf(x).s, y, i, j);
}

/** The two factors of a matrix product, from one operand's cell to the other's. */
function factors(step, from, i, to, j) {
  const kind = step.x[0].m?.[0];
  if (kind !== "mm" && kind !== "in") return false;
  const [left, right] = step.x.map((x) => arrayOf(x).s);
  return from === "x0" ? meet(kind, left, right, i, j) : meet(kind, left, right, j, i);
}

function other(step, from, i, to, j, x, y) {
  const o = story.tensors[step.o[0]].v.s;
  const [kind, position] = step.map;
  const [a, b] = from === "o" ? [j, i] : [i, j]; // b is the place in the other factor
  const peer = from === "o" ? to : from;
  if (peer === "x") return position === 0 ? meet(kind, x, o, a, b) : meet(kind, o, x, b, a);
  return feeds([kind, 1 - position], o, y, b, a);
}

// --- controls --------------------------------------------------------------------------------

const keys = {
  ArrowRight: () => go(beside(1)),
  ArrowLeft: () => go(beside(-1)),
  Home: () => go(0),
  End: () => go(steps.length - 1),
  " ": playOrPause,
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: fitWidth,
  "/": () => at("search").focus(),
  Escape: () => lightWay(null),
};

function keyDown(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest("table[data-space]") && key.startsWith("Arrow")) return walk(event);
  const pressed = target.closest('[role="button"]');
  if (pressed && (key === "Enter" || key === " ")) {
    event.preventDefault();
    return press(pressed);
  }
  if (target.closest(".card") && (key === "ArrowUp" || key === "ArrowDown")) return nextCard(event);
  if (target.matches("input:not([type=range]), select, textarea")) return;
  if (target.id === "slider" && key.startsWith("Arrow")) return; // it reaches every step
  if (key === " " && target.matches("button, a, summary")) return;
  if (!keys[key]) return;
  event.preventDefault();
  keys[key]();
}

/** From cell to cell of a table with the arrow keys. */
function walk(event) {
  event.preventDefault();
  const table = event.target.closest("table");
  const columns = table.rows[0].cells.length;
  const cells = [...table.querySelectorAll("td")];
  const here = cells.indexOf(event.target);
  const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  const next = cells[here < 0 ? 0 : here + move];
  if (next) next.focus();
}

/** From card to card with the arrow keys. */
function nextCard(event) {
  event.preventDefault();
  const all = [...svg.querySelectorAll(".card")].filter((g) => g.style.display !== "none");
  const next = all[all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
  if (!next) return;
  event.target.setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  next.focus({ preventScroll: true });
}

function fromAddress() {
  const found = /step=(\d+)/.exec(location.hash);
  return found ? Number(found[1]) : 0;
}

function listen() {
  const click = (id, action) => at(id).addEventListener("click", action);
  click("first", () => go(0));
  click("back", () => go(beside(-1)));
  click("next", () => go(beside(1)));
  click("last", () => go(steps.length - 1));
  click("run", playOrPause);
  click("link", (event) => event.preventDefault()); // it is to be copied; within a notebook it would leave the page
  click("quiz", () => {
    state.quiz = !state.quiz;
    at("quiz").setAttribute("aria-pressed", state.quiz);
    show();
  });
  click("theme", () => {
    at("theme").textContent = themes[(themes.indexOf(at("theme").textContent) + 1) % 3];
    paint();
  });
  at("slider").max = steps.length - 1;
  at("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  addEventListener("keydown", keyDown);
  addEventListener("hashchange", () => go(fromAddress()));
  dark.addEventListener("change", paint);
  listenToSearch();
  const box = at("step");
  const hit = (event) => light(box, event.target.closest("table[data-space] td, canvas[data-space]"), related);
  box.addEventListener("pointerover", hit);
  box.addEventListener("pointermove", (event) => event.target.matches("canvas[data-space]") && hit(event));
  box.addEventListener("focusin", hit);
  box.addEventListener("pointerleave", () => light(box, null, related));
  box.addEventListener("focusout", () => light(box, null, related));
}

function listenToGraph() {
  const click = (id, action) => at(id).addEventListener("click", action);
  for (const id of ["fold", "unfold"]) at(id).hidden = !clusters.size;
  click("fold", () => foldAll(true));
  click("unfold", () => foldAll(false));
  click("unroll", () => tellOnce(!isToldOnce()));
  click("closer", () => zoom(1.25));
  click("farther", () => zoom(0.8));
  click("fit", fit);
  svg.addEventListener("click", (event) => press(event.target));
  at("picture").addEventListener("focusin", (event) => bringFocus(event.target)); // an svg that listens would be a stop for Tab
  svg.querySelector(".card").setAttribute("tabindex", 0);
  steer();
  addEventListener("resize", () => {
    framing?.();
    keepInView();
  });
}

if (story.theme !== "auto") at("theme").textContent = themes[story.theme === "dark" ? 2 : 1];
paint();
listen();
training?.build();
if (svg) {
  readGraph();
  findRepeats();
  listenToGraph();
  tellOnce(true);
  fitWidth();
}
go(fromAddress());
