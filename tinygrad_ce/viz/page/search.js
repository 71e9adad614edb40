// Searching names, operations, lines of the program and modules.

/** What can be found: a card, where it is told, and the words that lead to it. */
function entries() {
  return Object.keys(story.tensors).map((id) => {
    const t = story.tensors[id];
    const k = madeAt.get(id) ?? steps.findIndex((step) => step.k === "f" && step.x.some((x) => x.id === id));
    const step = steps[madeAt.get(id)];
    const [file, line, text] = (step && story.files[step.src]) || [];
    const around = [];
    for (let c = svg && cards.get(id).outer; c; c = clusters.get(c).outer) around.unshift(clusters.get(c).g.dataset.name);
    const source = text ? `${file}:${line} ${text}` : "";
    return { id, k: Math.max(0, k), name: t.name && t.op ? `${t.name} (${t.op})` : nameOf(id), place: around.join(" › "), source, words: [t.name, t.as, t.op, t.role, around.join(" "), source].join(" ").toLowerCase() };
  });
}

/** What has all the words: those whose name has them come first. */
function lookFor(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const all = (where) => words.every((word) => where.toLowerCase().includes(word));
  const found = entries().filter((entry) => all(entry.words));
  return [...found.filter((entry) => all(entry.name)), ...found.filter((entry) => !all(entry.name))];
}

const FOUND = 8; // so many are listed

function listenToSearch() {
  const field = at("search");
  const list = at("found");
  let found = [];
  let chosen = 0;
  const close = () => { list.hidden = true; field.setAttribute("aria-expanded", "false"); field.removeAttribute("aria-activedescendant"); };
  const choose = (n) => {
    chosen = n;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === n));
    if (list.children[n]?.id) field.setAttribute("aria-activedescendant", list.children[n].id);
  };
  const visitFound = (entry) => {
    close();
    field.value = "";
    field.blur();
    go(entry.k);
    if (svg) follow([entry.id]);
    if (!story.tensors[entry.id].op && svg && wayFrom !== entry.id) lightWay(entry.id);
    say(`${entry.name}: step ${entry.k}`);
  };
  const update = () => {
    const all = lookFor(field.value);
    found = all.slice(0, FOUND);
    list.replaceChildren(...found.map((entry, i) => {
      const item = make("li", { role: "option", id: `found${i}`, "aria-selected": "false" }, make("b", {}, short(entry.name)), " ", make("small", {}, [entry.place, entry.source].filter(Boolean).join(" · ")));
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); visitFound(entry); });
      return item;
    }));
    if (all.length > FOUND) list.append(make("li", { class: "more" }, `and ${all.length - FOUND} more`));
    if (field.value.trim() && !all.length) list.append(make("li", { class: "more" }, "Nothing has these words."));
    list.hidden = !field.value.trim();
    field.setAttribute("aria-expanded", String(!list.hidden));
    choose(0);
  };
  field.addEventListener("input", update);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && found.length) {
      event.preventDefault();
      choose((chosen + move + found.length) % found.length);
    } else if (event.key === "Enter" && found.length) {
      event.preventDefault();
      visitFound(found[chosen]);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      field.value = "";
      close();
      field.blur();
    }
  });
}
