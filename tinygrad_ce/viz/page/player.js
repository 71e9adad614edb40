// For scripts and tests: what the page shows and what can be done with it, as one object.

/** Every tensor by name: { leaf, value, gradient }, the last two as places among the values. */
function tensorsByName() {
  const found = new Map();
  const add = (name, told) => {
    let own = name;
    for (let n = 2; found.has(own); n++) own = `${name} (${n})`;
    found.set(own, told);
  };
  const out = (win) => (win?.num === undefined ? undefined : story.live.out[win.num]);
  const gradientOf = (leaf) => (leaf.g === null ? undefined : story.live.out[leaf.g]);
  for (const leaf of story.live.leaves) if (leaf.n) add(leaf.n, { leaf, value: leaf.i, gradient: gradientOf(leaf) });
  const listed = new Set(story.live.leaves.filter((leaf) => leaf.n).map((leaf) => leaf.c));
  for (const [id, t] of Object.entries(story.tensors)) {
    if (listed.has(id) || t.v.num === undefined) continue;
    const leaf = leafAt(id);
    add(nameOf(id), { leaf, value: leaf ? leaf.i : out(t.v), gradient: leaf ? gradientOf(leaf) : out(t.g) });
  }
  return found;
}

/** The leaf that a card shows; of those that share a card, the one that has a place. */
function leafAt(card, place) {
  const there = story.live.leaves.filter((leaf) => leaf.c === card);
  if (place === undefined) return there.length === 1 ? there[0] : undefined;
  return there.findLast((leaf) => leaf.o <= place);
}

const listed = (names) => (names.length > 12 ? [...names.slice(0, 12), "…"] : names).join(", ");

/** The tensor of a name. */
function tensorOf(caller, name) {
  if (live.why) throw new Error(live.why);
  compute();
  const all = tensorsByName();
  if (!all.has(name)) throw new Error(`${caller}: got ${JSON.stringify(name)}; wanted one of ${listed([...all.keys()])}`);
  return all.get(name);
}

const arrayFor = ({ shape, data, type }) => ({
  shape: [...shape],
  data: Array.from(data, (x) => (type === "bool" ? Boolean(x) : x)),
});

/** The place of an index in the data: a list of integers, or one integer for one axis. */
function elementOf(caller, index, shape) {
  const given = Array.isArray(index) ? index : index === undefined || index === null ? [] : [index];
  const fits = given.length === shape.length && given.every((i, axis) => Number.isInteger(i) && i >= -shape[axis] && i < shape[axis]);
  if (!fits) throw new Error(`${caller}: got index ${JSON.stringify(index)}; wanted ${shape.length} integers for a shape of [${shape.join(", ")}]`);
  return given.reduce((place, i, axis) => place * shape[axis] + (i < 0 ? i + shape[axis] : i), 0);
}

/** What is wrong with a number for a leaf, in words; "" if nothing is. */
function refused(leaf, x) {
  const { type } = live.given[leaf.i];
  if (typeof x !== "number" && typeof x !== "boolean") return `got ${JSON.stringify(x) ?? x}; wanted a number`;
  if (!Number.isFinite(Number(x))) return `got ${x}; wanted a finite number`;
  if (type === "bool") return x === true || x === false || x === 0 || x === 1 ? "" : `got ${x}; wanted true or false`;
  if (type.includes("int")) {
    if (!Number.isInteger(Number(x))) return `got ${x}; wanted an integer`;
    if (leaf.most !== undefined && (x < 0 || x > leaf.most)) return `got ${x}; wanted an index from 0 to ${leaf.most}`;
    if (!Number.isSafeInteger(x) || engine.stored([x], type, [1]).data[0] !== Number(x)) return `got ${x}; wanted an integer of ${type}`;
    return "";
  }
  return Number.isFinite(engine.stored([x], type, [1]).data[0]) ? "" : `got ${x}; wanted a number that ${type} can hold`;
}

window.player = {
  get step() {
    return state.step;
  },
  get steps() {
    return steps.length - 1;
  },
  goto(n) {
    if (!Number.isInteger(n) || n < 0 || n > player.steps) throw new Error(`player.goto: got ${n}; wanted an integer from 0 to ${player.steps}`);
    go(n);
  },
  names() {
    return live.why ? [] : [...tensorsByName().keys()];
  },
  value(name) {
    const { value } = tensorOf("player.value", name);
    return arrayFor(live.values[value]);
  },
  gradient(name) {
    const { gradient } = tensorOf("player.gradient", name);
    if (gradient === undefined) throw new Error(`player.gradient: no gradient arrives at ${name}`);
    return arrayFor(live.values[gradient]);
  },
  set(name, index, value) {
    const { leaf } = tensorOf("player.set", name);
    const fixed = story.live.locked?.split(", ").includes(name);
    if (!leaf) throw new Error(`player.set: ${name} ${fixed ? "stays as it is" : "is computed"}; wanted one of ${listed(story.live.leaves.map((one) => one.n).filter(Boolean))}`);
    const { shape, data } = live.given[leaf.i];
    const place = elementOf("player.set", index, shape);
    const wrong = refused(leaf, value);
    if (wrong) throw new Error(`player.set: ${wrong}`);
    edit(new Map([[leaf, data.with(place, Number(value))]]));
  },
  loss() {
    if (live.why) throw new Error(live.why);
    compute();
    const { num, d, s } = Object.values(story.tensors).at(-1).v;
    if (sizeOf(s) !== 1) throw new Error(`player.loss: the last tensor has ${sizeOf(s)} numbers; wanted one`);
    return num === undefined ? Number(d[0]) : valueOf(num).data[0]; // without a number it never changes
  },
  train(count) {
    if (live.why) throw new Error(live.why);
    if (!training) throw new Error("player.train: the page has no step of training; make it with play(loss, optimizer=...), or play a traced step");
    if (!Number.isInteger(count) || count < 0) throw new Error(`player.train: got ${count}; wanted how many steps, an integer`);
    training.stop();
    training.advance(count);
    return window.player.loss();
  },
  reset() {
    training?.stop();
    restart();
  },
};
