// Calls that do the same several times: told once, and unrolled on demand.

const LEAST = 3; // so many equal calls are told once
const WORTH = 4; // if they are so many operations
const repeats = []; // lists of clusters

/** What a call does, as a text that is equal for calls that do the same. */
function signature(id) {
  const parts = [...cards].filter(([, card]) => isWithin(card.outer, id)).map(([card]) => story.tensors[card]);
  const made = parts.filter((t) => t.op);
  if (made.length < WORTH) return "";
  const words = made.map((t) => `${t.op.replace(/[\p{L}\p{N}_.]+/gu, "x")} ${t.v.s}`);
  return [plainName(clusters.get(id).g.dataset.name), ...words].join("|");
}

/** A name without the number that tells it from its like: `Block 3`. */
const plainName = (name) => name.replace(/( \(\d+ of \d+\))?$/, "").replace(/(?<=\S)[ .]+\d+$/, "");

function isWithin(outer, id) {
  for (let c = outer; c; c = clusters.get(c).outer) if (c === id) return true;
  return false;
}

/** Find equal calls of modules, side by side, and number them. */
function findRepeats() {
  const alike = new Map();
  for (const [id, { g, outer }] of clusters) {
    const done = g.classList.contains("module") && signature(id);
    if (done) alike.set(`${outer} ${done}`, [...(alike.get(`${outer} ${done}`) || []), id]);
  }
  for (const group of alike.values()) {
    if (group.length < LEAST) continue;
    repeats.push(group);
    const words = clusters.get(group[0]).g.querySelector(".title text");
    words.textContent = `${plainName(words.textContent)} × ${group.length}`;
    clusters.get(group[0]).title = words.parentNode.getBBox().width + 20;
    group.forEach((id, i) => { clusters.get(id).g.dataset.name += ` (${i + 1} of ${group.length})`; });
  }
}

/** Fold all equal calls but the first, or open them again. */
function tellOnce(on) {
  for (const [, ...others] of repeats) for (const id of others) if (on) folded.add(id); else folded.delete(id);
  layout();
  if (at("inside")) redraw(); // else nothing is shown yet
}

const isToldOnce = () => repeats.some(([, ...others]) => others.some((id) => folded.has(id)));

function paintRepeats() {
  const button = at("unroll");
  button.hidden = !repeats.length;
  button.textContent = isToldOnce() ? `Unroll × ${Math.max(...repeats.map((group) => group.length))}` : "Tell once";
  button.title = "Calls that do the same are told once, or all of them";
}

/** What the first screen says of it. */
function repeatsSaid() {
  const names = repeats.map((group) => `${plainName(clusters.get(group[0]).g.dataset.name)} × ${group.length}`);
  return names.length ? make("p", { class: "why" }, `${names.join(" and ")}: ${names.length > 1 ? "each is" : "it is"} told once, for the others do the same. Click one that is folded to open it, or `, make("b", {}, "Unroll"), " all.") : "";
}
