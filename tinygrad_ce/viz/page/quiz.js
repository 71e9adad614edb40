// The quiz: a gradient is hidden and asked for, its shape first, then one element.

/** A shape as somebody writes it: "4 × 5", "(4, 5)", "scalar". */
function readShape(text) {
  if (/^\s*(scalar|\(\s*\)|\[\s*\])\s*$/i.test(text)) return [];
  const numbers = text.match(/\d+/g);
  return numbers && /^[\s\d,x×*()[\]]+$/i.test(text) ? numbers.map(Number) : null;
}

/** The quiz at a step: its shape first, then one element. */
function question(step, k, win) {
  const box = make("div", { class: "quiz" });
  if (!state.shaped.has(k)) askShape(box, step, k, win);
  else askElement(box, step, k, win);
  return box;
}

/** A question with a field; `check` gives words about a wrong answer, or nothing. */
function ask(box, k, words, label, check) {
  const input = make("input", { "aria-label": label, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const form = make("form", {}, input, make("button", {}, "Check"), giveUp(k));
  const answer = make("p", { class: "no" });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wrong = input.value.trim() && check(input.value);
    if (!wrong) return;
    answer.textContent = wrong;
    say(wrong);
  });
  box.append(make("p", {}, words), form, answer, make("p", { class: "waits" }, "Playing goes on after the answer."));
}

/** What the quiz asks for. */
const asked = (step) => (isShare(step) ? "this share of " : "") + slope(step.as[0]);

/** A wrong answer to a question, with one hint more than the one before. */
function wrong(k, given, hints) {
  const asks = state.shaped.has(k) ? "element" : "shape";
  const tries = (state.tries.get(`${k} ${asks}`) || 0) + 1;
  state.tries.set(`${k} ${asks}`, tries);
  const told = hints.filter(Boolean).slice(0, tries);
  return [`Not ${given}.`, ...told].join(" ");
}

function askShape(box, step, k, win) {
  ask(box, k, `Which shape has ${asked(step)}?`, "shape", (text) => {
    const given = readShape(text);
    if (!given) return "Write a shape such as 4 × 5, or scalar.";
    if (given.join() !== win.s.join()) return wrong(k, shapeText(given), shapeHints(step, win, given));
    state.shaped.add(k);
    show();
    at("step").querySelector(".quiz input")?.focus();
    say(`Yes, ${shapeText(win.s)}.`);
    return "";
  });
}

function shapeHints(step, win, given) {
  const axes = (n) => (n === 1 ? "1 axis" : `${n} axes`);
  const turned = given.length === 2 && given[0] === win.s[1] && given[1] === win.s[0];
  return [
    `A gradient has the shape of its tensor.`,
    given.length !== win.s.length ? `${nameOf(step.x)} has ${axes(win.s.length)}.` : turned ? "Rows and columns are exchanged." : "",
    step.sum ? `It was copied along ${step.sum}, and the copies are added up again.` : "",
    `${nameOf(step.x)} is ${shapeText(story.tensors[step.x].v.s)}.`,
  ];
}

/** Ask for one element: one that is not 0, if there is one. */
function askElement(box, step, k, win) {
  const finite = win.d.map((x, i) => [x, i]).filter(([x]) => typeof x === "number");
  const telling = finite.filter(([x]) => x !== 0);
  const from = telling.length ? telling : finite;
  if (!from.length) {
    box.append(make("p", {}, `Yes, ${shapeText(win.s)}. It has no finite element to ask for.`), giveUp(k));
    return;
  }
  const [value, i] = from[(k * 7) % from.length];
  const place = places(win)[i];
  const index = unravel(place, win.s);
  const element = asked(step) + (index.length ? `[${index.join(", ")}]` : "");
  ask(box, k, `Yes, ${shapeText(win.s)}. What is ${element}, to two digits?`, "element", (text) => {
    const given = numberIn(text);
    if (given === null) return "Write a number such as -0.25 or -1/4.";
    if (Math.abs(given - value) > allowed(value)) return wrong(k, text.trim(), elementHints(step, given, value, place));
    solve(k, true);
    return "";
  });
  state.asks = place;
  const [, rows, columns] = planes(shapeOf(win));
  lookAt(win, Math.floor(place / rows / columns));
  moveTo(win, Math.floor(place / columns) % rows, place % columns, true);
}

/** A number as somebody writes it: "-0.25", "−0,25", "-1/4", "2e-3"; or null. */
function numberIn(text) {
  const parts = text.trim().replace(/[−–]/g, "-").split(/[/÷⁄]/).map((part) => part.trim().replace(",", "."));
  if (parts.length > 2 || !parts.every((part) => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(part))) return null;
  const number = parts.map(Number).reduce((a, b) => a / b);
  return Number.isFinite(number) ? number : null;
}

/** What helps with an element: its sign, its size, the copies that are added up, the rule in numbers. */
function elementHints(step, given, value, place) {
  const signs = { "-1": "negative", 0: "0", 1: "positive" };
  const factor = value && given ? Math.abs(given / value) : 0;
  const off = factor > 1 ? `${shown(factor)} times too large` : `${shown(1 / factor)} times too small`;
  const near = Math.abs(factor - 1) < 0.02;
  const slip = slipIn(step, given, value, place);
  return [
    slip && `This is what comes out where ${slip}.`,
    Math.sign(given) === Math.sign(value) ? "The sign is right." : `Look at the sign: it is ${signs[Math.sign(value)]}.`,
    factor && !near ? `It is ${off}.` : "",
    step.sum ? `It is a sum: the copies along ${step.sum} each send their own back.` : "",
    inNumbers(step, place),
  ];
}

/** The slip that gives a wrong number, in the grader's words (teach.FAULTS); or nothing. */
function slipIn(step, given, value, place) {
  const x = story.tensors[step.x].v;
  const y = story.tensors[step.y];
  const alike = x.s.join() === y.g.s.join();
  const at = (win, known = alike) => (known && win ? Number(win.d[places(win).indexOf(place)] ?? NaN) : NaN);
  const [up, local, made, copies] = [at(y.g), at(step.loc), at(y.v), sizeOf(y.g.s) / sizeOf(x.s)];
  const sizes = [2, copies, 1 / copies, ...x.s, ...y.g.s].filter((n) => n !== 1);
  const slips = [
    ["the sign is the other way round", -value],
    ["a factor of the chain rule is left out", up + 0 * local],
    ["the gradient that comes from above is left out", local],
    ["the value of a tensor stands where its gradient belongs", at(x, true)],
    ["f, or what f is taken of, stands where the slope f′ belongs", up * at(x), up * made],
    ["a factor is there twice", value * local, value * up],
    ["a factor divides instead of multiplying, or the other way round", up / local, local / up],
    ["a mean stands where a sum belongs", step.o ? NaN : value / Math.max(copies, 1)],
    ["a constant factor is missing, or is there twice", ...sizes.flatMap((n) => [n * value, value / n])],
  ];
  const fits = (number) => Number.isFinite(number) && Math.abs(given - number) <= allowed(number);
  return (slips.find(([, ...numbers]) => numbers.some(fits)) || [""])[0];
}

/** The rule at one element, as far as a page knows its numbers. */
function inNumbers(step, place) {
  const y = story.tensors[step.y];
  const at = (win) => win && win.d[places(win).indexOf(place)];
  const [up, local] = [at(y.g), at(step.loc)];
  const same = y.g.s.join() === story.tensors[step.x].v.s.join();
  if (same && step.loc && up !== undefined && local !== undefined) return `It is the upstream gradient times the slope: ${shown(up)} × ${shown(local)}.`;
  if (step.o) return `It is the sum of products of ${slope(step.as[1])} with ${nameOf(step.o[0])}.`;
  return step.why || "";
}

/** How far two right digits may be off: half a unit of the second, and two percent. */
function allowed(value) {
  const size = Math.abs(value);
  const unit = size ? 10 ** (Math.floor(Math.log10(size)) - 1) : 0; // 0 has to be 0
  return Math.max(0.02 * size, 0.5 * unit) * 1.001;
}

function giveUp(k) {
  const button = make("button", { type: "button" }, "Show it");
  button.addEventListener("click", () => solve(k, false));
  return button;
}

/** How it went so far; at the end, with what was not asked. */
function quizScore() {
  const { k } = steps[state.step];
  const open = steps.filter((step, i) => step.k === "b" && !state.solved.has(i)).length;
  const so = `Quiz: ${state.right} right of ${state.asked}, ${state.first} at the first try.`;
  if (k === "end") return `${so} ${open ? `${open} not asked yet. Go to a backward step to be asked.` : "Every gradient was asked for."}`;
  return k === "b" ? so : `${so} Go to a backward step to be asked.`;
}

function markAsked(box) {
  refresh();
  for (const td of box.querySelectorAll('.hidden td')) td.classList.toggle("ask", Number(td.dataset.i) === state.asks);
}

function solve(k, right) {
  state.solved.add(k);
  state.asked += 1;
  state.right += right ? 1 : 0;
  state.first += right && !state.tries.has(`${k} shape`) && !state.tries.has(`${k} element`) ? 1 : 0;
  show();
  if (state.timer) play(true); // the answer stays as long as any step
  at("next").focus();
  say(`${right ? "Right." : "Shown."} ${state.right} of ${state.asked}.`);
}
