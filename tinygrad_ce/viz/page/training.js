// Training: the page's program goes on, each step from what the one before has left.

const FRAME = { wide: 400, high: 164, left: 62, right: 8, top: 8, bottom: 20 }; // of the loss, in its own units
const DECADES = 3; // that a learning rate can be moved, up and down

if (!live.why) training = {
  states: story.live.train.states.map(([i, out]) => ({ i, out })),
  rates: story.live.train.rates.map((rate) => ({ ...rate, start: live.given[rate.i].data[0] })),
  out: Object.values(story.tensors).at(-1).v.num,
  losses: [], // at each state so far; the last is that of now
  going: 0, // the frame that is asked for
  fresh: false, // whether it has been started, and no step was taken yet
  moving: null, // what is undone if a slider is being moved
  build: buildPanel,
  updateStep,
  stop: stopTraining,
  advance,
};

/** What is undone with the numbers: how many steps were stepCount. */
const stepCount = {
  get: () => training.losses.length - 1,
  put: (count) => { training.losses.length = count + 1; },
};

/** The loss of now. */
const lossNow = () => valueOf(training.out).data[0];

/** Go so many steps on, or until the loss is no number; it can be undone as one. */
function advance(count, anew = true) {
  compute();
  if (!count || !Number.isFinite(lossNow())) return;
  if (anew) remember([...training.states, stepCount]);
  for (let k = 0; k < count && Number.isFinite(lossNow()); k++) {
    assign(new Map(training.states.map((state) => [state, live.values[state.out].data])));
    live.values = engine.run(story.live, live.given);
    training.losses.push(lossNow());
  }
  if (!Number.isFinite(lossNow())) stopTraining();
  display();
}

function startTraining() {
  play(false);
  compute();
  if (!Number.isFinite(lossNow())) return;
  training.fresh = true;
  training.going = requestAnimationFrame(trainFrame);
  showGoing();
}

function trainFrame() {
  if (editing.spot) return stopTraining(); // somebody writes a number
  advance(1, training.fresh);
  training.fresh = false;
  if (training.going) training.going = requestAnimationFrame(trainFrame);
}

function stopTraining() {
  const was = training.going;
  cancelAnimationFrame(was);
  training.going = 0;
  showGoing();
  if (was) say(stateText());
}

const trainOrStop = () => (training.going ? stopTraining() : startTraining());

function takeStep() {
  stopTraining();
  advance(1);
  say(stateText());
}

/** Everything as it was: numbers, steps, learning rate. */
function startAgain() {
  stopTraining();
  restart();
  say("Back at the start.");
}

// --- the panel -------------------------------------------------------------------------------

function stateText() {
  const steps = stepCount.get();
  const loss = valueText(valueOf(training.out));
  if (Number.isFinite(lossNow())) return `after ${steps} step${steps === 1 ? "" : "s"}: ${short(story.loss)} = ${loss}`;
  if (!steps) return `${short(story.loss)} is ${loss}: from here it cannot be trained.`;
  return `${short(story.loss)} is ${loss} after ${steps} step${steps === 1 ? "" : "s"}: training has diverged. Take a smaller learning rate, and go back to the start.`;
}

function showGoing() {
  at("train").textContent = training.going ? "Stop" : "Train";
  at("train").setAttribute("aria-pressed", Boolean(training.going));
}

/** A setting that can be changed: a slider, logarithmic, and its number. */
function rateControl(rate) {
  const centre = Math.log10(rate.start > 0 ? rate.start : 0.01);
  const share = rate.high === 1; // its distance from 1 counts
  const [min, max] = share ? [0, 4] : [centre - DECADES, centre + DECADES];
  const placeFor = (x) => (share ? -Math.log10(1 - x) : x > 0 ? Math.log10(x) : min);
  const valueAt = (place) => (share ? Number((1 - 10 ** -place).toFixed(place < 2 ? 2 : 4)) : Number((10 ** place).toPrecision(3)));
  const slider = make("input", { type: "range", min, max, step: 0.02, "aria-label": `${rate.n}, slider` });
  const field = make("input", { type: "text", inputmode: "decimal", size: 8, "aria-label": rate.n, spellcheck: "false", autocomplete: "off" });
  const moved = () => training.moving && training.moving === live.past.at(-1);
  const ends = () => { training.moving = null; };
  slider.addEventListener("input", () => {
    setRate(rate, valueAt(Number(slider.value)), moved());
    training.moving = live.past.at(-1);
  });
  for (const event of ["change", "pointerdown", "blur"]) slider.addEventListener(event, ends);
  const wrong = make("span", { class: "wrong no", hidden: true });
  let typing = false;
  field.addEventListener("input", () => { typing = true; });
  field.addEventListener("change", () => {
    typing = false;
    const x = numberIn(field.value);
    const fits = x !== null && x >= (rate.low ?? -Infinity) && x < (rate.high ?? Infinity);
    wrong.hidden = fits;
    field.setAttribute("aria-invalid", !fits);
    if (fits && x !== live.given[rate.i].data[0]) setRate(rate, x);
    if (fits) return;
    wrong.textContent = `${rate.n}: wanted a number${rate.low === undefined ? "" : share ? " from 0 to below 1" : " from 0 on"}, such as ${rate.start}.`;
    say(wrong.textContent);
  });
  rate.show = () => {
    const x = live.given[rate.i].data[0];
    if (x !== rate.shown) {
      rate.shown = x;
      wrong.hidden = true;
      field.setAttribute("aria-invalid", false);
      if (!typing) field.value = String(x);
    }
    if (!moved()) slider.value = placeFor(x);
    slider.setAttribute("aria-valuetext", String(x));
  };
  const alike = training.rates.filter(({ n }) => n === rate.n);
  const name = alike.length > 1 ? `${rate.n} ${alike.indexOf(rate) + 1}` : rate.n;
  return make("div", { class: "rate" }, make("b", {}, name), slider, field, wrong);
}

/** Let a setting be another number, `again` as part of the edit before. */
function setRate(rate, x, again) {
  edit(new Map([[rate, Float64Array.of(x)]]), again);
}

function buildPanel() {
  const button = (id, words, action, title) => {
    const made = make("button", { type: "button", id, title }, words);
    made.addEventListener("click", action);
    return made;
  };
  const others = training.rates.filter((rate) => rate.high === 1);
  const panel = make("section", { id: "training", "aria-label": "Training" },
    make("div", { class: "row" },
      button("take", "Take a step", takeStep, "One step of training (S)"),
      button("train", "Train", trainOrStop, "Step after step, until stopped (T)"),
      button("again", "Back to the start", startAgain, "All numbers as they were (R)"),
      ...training.rates.filter((rate) => !others.includes(rate)).map(rateControl)),
    others.length ? make("details", { class: "settings" }, make("summary", {}, `More settings: ${[...new Set(others.map(({ n }) => n))].join(", ")}`), make("div", { class: "row" }, ...others.map(rateControl))) : "",
    make("p", { class: "state" }),
    make("div", { class: "row views" }, make("figure", { class: "fall" })),
    story.live.train.draws ? make("p", { class: "note" }, "What is drawn at random, such as dropout, stays as it was recorded: each step has the same.") : "");
  at("step").before(panel);
  Object.assign(keys, { s: takeStep, t: trainOrStop, r: startAgain });
  const hint = document.querySelector(".keys");
  hint.append(" · ", make("kbd", {}, "S"), " take a step · ", make("kbd", {}, "T"), " train · ", make("kbd", {}, "R"), " back to the start");
  compute();
  training.losses = [lossNow()];
  afterEdit.push(updatePanel);
  updatePanel();
  if (story.live.train.points) buildPoints(story.live.train.points);
}

/** The panel as it is now. */
function updatePanel() {
  if (training.going && !isEdited()) stopTraining(); // all was undone
  training.losses[training.losses.length - 1] = lossNow();
  const state = document.querySelector("#training .state");
  state.textContent = stateText();
  at("training").classList.toggle("begun", stepCount.get() > 0);
  state.classList.toggle("no", !Number.isFinite(lossNow()));
  document.querySelector("#training .fall").replaceChildren(fallOf(training.losses));
  for (const rate of training.rates) rate.show();
  for (const id of ["take", "train"]) at(id).setAttribute("aria-disabled", !Number.isFinite(lossNow()));
  at("again").setAttribute("aria-disabled", !isEdited());
}

// --- the loss as it falls --------------------------------------------------------------------

function drawn(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** Of many numbers some, the last among them, with their places. */
function thinned(numbers, most) {
  const by = Math.ceil(numbers.length / most) || 1;
  const some = [];
  for (let k = 0; k < numbers.length; k += by) some.push([k, numbers[k]]);
  if ((numbers.length - 1) % by) some.push([numbers.length - 1, numbers.at(-1)]);
  return some;
}

/** The losses as a line; logarithmic where they span more than one power of ten. */
function fallOf(losses) {
  const { wide, high, left, right, top, bottom } = FRAME;
  const points = thinned(losses, wide).filter(([, loss]) => Number.isFinite(loss));
  let [low, most] = [Infinity, -Infinity];
  for (const [, loss] of points) [low, most] = [Math.min(low, loss), Math.max(most, loss)];
  const isLog = low > 0 && most / low > 10;
  const scale = isLog ? Math.log10 : (x) => x;
  const span = scale(most) - scale(low);
  const x = (k) => left + (k / Math.max(losses.length - 1, 10)) * (wide - left - right);
  const y = (loss) => high - bottom - (span > 0 ? (scale(loss) - scale(low)) / span : 0.5) * (high - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${story.loss} over ${losses.length - 1} steps${isLog ? ", logarithmic" : ""}, from ${numberText(losses[0])} to ${numberText(losses.at(-1))}` });
  svg.append(drawn("path", { class: "axes", d: `M${left} ${top}V${high - bottom}H${wide - right}` }));
  const label = (words, at, up, anchor) => svg.append(drawn("text", { x: at, y: up, "text-anchor": anchor }, words));
  if (points.length) {
    label(numberText(most), left - 5, span > 0 ? top + 8 : y(most) + 4, "end");
    if (span > 0) label(numberText(low), left - 5, high - bottom, "end");
    svg.append(drawn("polyline", { points: points.map(([k, loss]) => `${x(k).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") }));
    const [k, loss] = points.at(-1);
    svg.append(drawn("circle", { cx: x(k).toFixed(1), cy: y(loss).toFixed(1), r: 3 }));
  }
  label("0", left, high - 6, "middle");
  label(`${Math.max(losses.length - 1, 10)} steps`, wide - right, high - 6, "end");
  label(`${short(story.loss)}${isLog ? ", log scale" : ""}`, wide - right, top + 8, "end");
  return svg;
}

// --- the update ------------------------------------------------------------------------------

/** How a parameter is replaced: for each line its formula, and its tables. */
function updateStep(step) {
  const parts = step.lines.flatMap((line) => [
    mathOf(line),
    row(...line.row.map((part) => {
      if (typeof part === "string") return sign(part);
      if (typeof part === "number") return sign(numberText(live.given[training.rates[part].i].data[0]));
      return heat(part.v, part.v.s.length ? "w" : "t", { caption: [named(part.c)], label: `${part.c}` });
    })),
  ]);
  const known = step.lines.length > 1 || step.lines[0].row.some((part) => typeof part === "number");
  return [
    make("h2", {}, make("b", {}, "Update"), ` ${step.name}`, step.kind ? make("small", {}, ` by ${step.kind}`) : ""),
    step.why && make("p", { class: "why" }, step.why),
    make("p", { class: "why" }, known ? "The optimiser takes a step against the slope; lr says how far." : "What the program takes off."),
    ...parts,
  ];
}
