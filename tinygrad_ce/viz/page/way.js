// The way of one tensor to the loss, lit up in the graph.

let wayFrom = null; // the card whose way is lit

/** The cards on a way from one to the last one, and the edges between them. */
function wayOf(id) {
  const next = (from, to) => edges.filter((edge) => edge[from] === to);
  const reach = (start, from, to) => {
    const found = new Set([start]);
    for (const at of found) for (const edge of next(from, at)) found.add(edge[to]);
    return found;
  };
  const down = reach(id, "from", "to");
  const last = [...down].find((at) => story.tensors[at].role === "loss") ?? [...down].pop();
  const up = reach(last, "to", "from");
  return new Set([...down].filter((at) => up.has(at)));
}

/** Light up the way of a card, or nothing any more. */
function lightWay(id) {
  wayFrom = id && wayFrom !== id ? id : null;
  paintWay();
  const told = at("way");
  told.hidden = !wayFrom;
  if (!wayFrom) return;
  const way = [...wayOf(id)].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  const names = way.filter((at) => story.tensors[at].name).map((at) => short(nameOf(at)));
  const few = names.length > 9 ? [...names.slice(0, 4), "…", ...names.slice(-4)] : names;
  const count = way.length === 2 ? "1 operation" : `${way.length - 1} operations`;
  told.replaceChildren(make("b", {}, `The way of ${short(nameOf(id))} to the end`), ` through ${count}${few.length > 1 ? `: ${few.join(" → ")}` : ""} `);
  const close = make("button", { type: "button" }, "Clear (Esc)");
  close.addEventListener("click", () => lightWay(null));
  told.append(close);
  say(`The way of ${nameOf(id)}, through ${count}. Escape clears it.`);
}

function paintWay() {
  if (!svg) return;
  const way = wayFrom ? wayOf(wayFrom) : new Set();
  svg.classList.toggle("tracing", Boolean(wayFrom));
  const seen = new Set([...way].map(standIn));
  for (const [id, card] of cards) card.g.classList.toggle("way", seen.has(id));
  for (const [id, cluster] of clusters) cluster.card?.g.classList.toggle("way", seen.has(id));
  for (const edge of edges) (edge.straight || edge.g).classList.toggle("way", way.has(edge.from) && way.has(edge.to));
}
