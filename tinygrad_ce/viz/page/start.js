// The first screen: what is given, what the colours and signs mean, and how to begin.

const FEW = 8; // so many names leave room for the legend below them

function startStep() {
  const leaf = (id) => !story.tensors[id].op && story.tensors[id].role !== "constant";
  const given = Object.keys(story.tensors).filter(leaf);
  const list = make("table", { class: "list" });
  for (const id of given) {
    const t = story.tensors[id];
    list.append(make("tr", {}, make("td", {}, make("b", {}, nameOf(id))), make("td", {}, t.role), make("td", {}, shapeText(t.v.s))));
  }
  const back = steps.some((step) => step.k === "seed");
  const inputs = given.filter((id) => story.tensors[id].role === "input").slice(0, 3);
  const tables = make("div", { class: "sides" }, list, row(...inputs.map((id, i) => valueTable(id, `given${i}`))));
  return [
    make("h2", {}, "What is given"),
    make("p", { class: "begin" }, "Press ", make("kbd", {}, "→"), " to compute the first value."),
    story.note ? make("p", { class: "note" }, story.note) : "",
    live.why ? make("p", { class: "note" }, live.why) : "",
    story.live?.locked ? make("p", { class: "note" }, `What is computed from ${story.live.locked} before the first gradient is not on record, so these numbers stay as they are. Under tinygrad_ce.source_lines() they can be edited.`) : "",
    make("p", { class: "why" }, `${given.length === 1 ? "1 tensor is" : `${given.length} tensors are`} there before anything is computed. The values flow down the grey arrows, one operation at a time${back ? "; then the gradients flow up the red ones" : ""}.`),
    repeatsSaid(),
    ...(given.length > FEW ? [legend(back), tables] : [tables, legend(back)]),
  ];
}

// --- what colours and signs mean -------------------------------------------------------------

const ROLES = {
  input: "an input, which is given",
  parameter: "a parameter, which is learned",
  constant: "a constant, without a gradient",
  step: "an operation and its value",
  loss: "the loss",
};

/** The colours and signs that are on this page. */
function legend(back) {
  const list = make("dl", { class: "legend" });
  const add = (sign, words) => list.append(make("dt", {}, sign), make("dd", {}, words));
  for (const [role, words] of Object.entries(ROLES)) {
    const box = svg?.querySelector(`#cards > .card.${role}`);
    if (box) add(sample(box), words);
  }
  if (clusters.size) add("⊟", "a call with its operations: click its title");
  add(arrow("#475569"), "a value, on its way down");
  if (back) {
    add(arrow("#f87171", "none", true), "a gradient, on its way back: its label says by what it is multiplied");
    add(make("span", { class: "red" }, "∇"), "the gradient, the slope of the loss; ‖∇‖ its length");
    if (Object.values(story.tensors).some((t) => t.n > 1)) add(make("span", { class: "red" }, "⊕2"), "two gradients arrive and are added");
  }
  if (svg?.querySelector('.edge:not(.flow) [stroke-dasharray], .edge [stroke="#475569"][stroke-dasharray]')) add(arrow("#475569", "5,2"), "no gradient comes back");
  const td = (sign) => { const cell = make("span", { class: `cell ${sign}` }, sign === "pos" ? "1" : "−1"); cell.style.setProperty("--a", "1"); return cell; };
  const both = make("span", {}, td("pos"), " ", td("neg"));
  add(both, "above and below 0; the stronger, the larger");
  if (story.letters) add("a, b", story.letters);
  return make("section", { class: "signs", "aria-label": "What colours and signs mean" }, make("h3", {}, "Colours and signs"), list);
}

/** A small card in the colours of one that is there. */
function sample(card) {
  const [paper, tint] = card.querySelectorAll("rect");
  const look = (rect) => Object.fromEntries(["fill", "stroke", "stroke-width"].map((name) => [name, rect?.getAttribute(name) || "none"]));
  return shape("svg", { viewBox: "0 0 34 22", class: "sample", "aria-hidden": "true" },
    shape("rect", { x: 2, y: 2, width: 30, height: 18, rx: 5, ...look(paper) }),
    shape("rect", { x: 4, y: 4, width: 26, height: 7, rx: 3, ...look(tint), stroke: "none" }));
}

/** A short arrow. */
function arrow(colour, dashes = "none", back = false) {
  return shape("svg", { viewBox: "0 0 34 22", class: "sample", "aria-hidden": "true" },
    shape("g", { transform: back ? "matrix(-1 0 0 1 34 0)" : "" },
      shape("path", { d: "M3,11H24", fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes }),
      shape("polygon", { points: "24,7 31,11 24,15", fill: colour })));
}
