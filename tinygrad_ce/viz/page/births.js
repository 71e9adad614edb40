// Where a nan or an infinity was born: computed anew from the numbers that are shown now.

/** Whether a window looks at a nan or an infinity; of what is computed here all numbers are at hand. */
function holds(win, kind) {
  if (!win) return false;
  if (live.values && win.num !== undefined) return valueOf(win.num).data.some(kind === "nan" ? Number.isNaN : (x) => Math.abs(x) === Infinity);
  return win.d.some((x) => isKind(x, kind)) || (win.of || "").includes(kind);
}
const isKind = (x, kind) => typeof x === "string" && x.replace(/^[-−]/, "") === kind;

/** The gradient that a backward step sends on. */
const sentBy = (step) => step.new || story.tensors[step.x].g;

/** Where a kind of numbers began: for each step null or the step where it was born, and the same for each card. */
function origins(kind) {
  const made = new Map(); // card -> the step where its value's was born
  const sent = new Map(); // card -> the same of its gradient
  const first = (found) => found.find((k) => k !== undefined);
  const born = steps.map((step, k) => {
    if (step.k === "start") {
      for (const [id, t] of Object.entries(story.tensors)) if (!t.op && holds(t.v, kind)) made.set(id, 0);
      return made.size ? 0 : null;
    }
    if (step.k === "f") {
      if (!holds(story.tensors[step.y].v, kind)) return null;
      const given = step.x.some((x) => !x.id && !x.card && holds(x.v, kind)); // an infinity that somebody wrote down
      made.set(step.y, first(step.x.map((x) => made.get(x.id))) ?? (given ? -1 : k));
      return made.get(step.y);
    }
    if (step.k !== "b" || !holds(sentBy(step), kind)) return null;
    const values = [...(operandsOf.get(step.y) || []), step.y].map((id) => made.get(id));
    const from = first([sent.get(step.y), ...values.filter((at) => at >= 0)]) ?? k;
    if (!sent.has(step.x)) sent.set(step.x, from);
    return from;
  });
  return { kind, born, made, sent };
}

const operandsOf = new Map(); // card -> the cards that it was computed from

/** What is to be said of numbers that are not finite: where nan or else ∞ began, and where the ∞ that it came from; or null if all is well. */
function trouble() {
  if (!operandsOf.size) for (const step of story.steps) if (step.k === "f") operandsOf.set(step.y, step.x.map((x) => x.id).filter(Boolean));
  const [nan, infinite] = [origins("nan"), origins("∞")];
  if (nan.born.some((born) => born !== null)) return { ...nan, infinite };
  const last = story.steps.findLast((step) => step.k === "f");
  const bad = (win) => holds(win, "∞");
  const matters = (last && bad(story.tensors[last.y].v)) || Object.values(story.tensors).some((t) => bad(t.g));
  return matters ? infinite : null;
}

const BY = [
  [/^log/, "the logarithm of 0 is −∞, that of a negative number is nan"],
  [/^(÷|⌊÷)/, "something was divided by 0"],
  [/^(√|.*\^|.*⁻)/, "the root of a negative number is nan, and 0 has no negative power"],
  [/^(exp|× ∞)/, "e to the power of a large number is more than a float can hold"],
  [/^[−+]/, "∞ − ∞ is no number"],
  [/^(×|@)/, "0 × ∞ is no number, and a product may be more than a float can hold"],
];

/** Why an operation may give what is not finite. */
function cause(step) {
  const { op } = story.tensors[step.y];
  if (step.k === "b") return `the slope of ${op} is not finite where it was computed`;
  return (BY.find(([pattern]) => pattern.test(op)) || [0, "its operands are beyond what it is defined for, or what a float can hold"])[1];
}

/** The line of the program behind a step, in a few words. */
function lineOf(step) {
  if (step.src === undefined) return "";
  const [file, line, text, start, end] = story.files[step.src];
  return ` (${file}, line ${line}: ${[...text].slice(start, end).join("")})`;
}

/** The leaves that hold a kind of numbers from the start, with the place of the first one. */
function givenWith(kind) {
  const held = Object.entries(story.tensors).filter(([, t]) => !t.op && holds(t.v, kind));
  return held.map(([id, { v }]) => {
    const first = v.d.findIndex((x) => isKind(x, kind));
    return nameOf(id) + (first < 0 || !v.s.length ? "" : `[${unravel(places(v)[first], v.s).join(", ")}]`);
  }).join(", ");
}

/** A step as a link, and what happens there. */
function birthplace(at, kind) {
  const link = make("a", { href: `#step=${at}` }, at ? `step ${at}` : "the start");
  link.addEventListener("click", (event) => { event.preventDefault(); go(at); });
  return [link, at ? `: ${steps[at].k === "b" ? "backward through " : ""}${nameOf(steps[at].y)}${lineOf(steps[at])}` : `, in ${givenWith(kind)}`];
}

/** Where the ∞ was born that a nan is made of, if it is one. */
function madeOf(step, { made, sent }) {
  const ids = operandsOf.get(step.y) || [];
  const from = [step.k === "b" ? sent.get(step.y) : undefined, ...(step.k === "b" ? [...ids, step.y] : ids).map((id) => made.get(id))].find((at) => at >= 0);
  return from === undefined ? [] : [" Its ∞ was born at ", ...birthplace(from, "∞"), "."];
}

/** What a step says about numbers that are not finite; nothing where there are none. */
function bornWhere(k) {
  const found = trouble();
  if (!found) return "";
  const { kind, born, infinite } = found;
  const note = (name, ...words) => make("p", { class: "born", role: "note" }, make("b", {}, name), ...words);
  const at = k === 0 ? born.find((from) => from !== null && from >= 0) : born[k];
  if (at === undefined || at === null || at < 0) return k && infinite?.born[k] === k ? note("∞ is born here", `: ${cause(steps[k])}.`) : "";
  const name = kind === "nan" ? "nan (not a number)" : "∞";
  if (at === k && k) return note(`${name} is born here`, `: ${cause(steps[k])}.`, ...(infinite ? madeOf(steps[k], infinite) : []));
  if (k === 0 && at === 0) return note(name, ` is already in what is given: ${givenWith(kind)}.`);
  return note(name, k ? " was born at " : " is born at ", ...birthplace(at, kind), ".");
}
