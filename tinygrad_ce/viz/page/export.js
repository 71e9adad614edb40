// What is shown as a file: an SVG or a PNG of this step, and all steps for the printer.

const SKIPPED = ".bar, .corner, .keys, .unseen, button, input, form, script, noscript, .save";
const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family", "font-size", "font-weight", "font-style", "text-anchor", "visibility"];

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const isClear = (colour) => /^transparent$|, 0\)$|\/ 0\)$/.test(colour);

/** A copy of something in an SVG, with the look that the page gives it written on each part. */
function inlined(element) {
  const copy = element.cloneNode(false);
  for (const name of ["class", "style", "id", "tabindex", "role"]) copy.removeAttribute(name);
  const style = getComputedStyle(element);
  if (style.display === "none") return null;
  if (element.tagName !== "g" && element.tagName !== "svg") for (const name of DRAWN) if (name !== "opacity") copy.setAttribute(name, style.getPropertyValue(name));
  if (style.opacity !== "1") copy.setAttribute("opacity", style.opacity);
  for (const child of element.childNodes) {
    const part = child.nodeType === Node.TEXT_NODE ? child.cloneNode() : inlined(child);
    if (part) copy.append(part);
  }
  return copy;
}

/** An `<svg>` of the page as one that stands at a place of another. */
function nested(element, box, [x, y]) {
  const copy = inlined(element);
  const set = { xmlns: SVG, x: box.left - x, y: box.top - y, width: box.width, height: box.height };
  for (const [name, value] of Object.entries(set)) copy.setAttribute(name, value);
  if (element === svg) copy.querySelector("g").setAttribute("transform", `translate(${camera.x} ${camera.y}) scale(${camera.k})`);
  return new XMLSerializer().serializeToString(copy);
}

/** The words of a text node, those of one line together: [text, box]. */
function linesOf(node) {
  const range = document.createRange();
  const lines = [];
  for (const { index, 0: word } of node.data.matchAll(/\S+\s*/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.trimEnd().length);
    const box = range.getBoundingClientRect();
    const last = lines.at(-1);
    if (!box.width) continue;
    if (last && Math.abs(last.box.top - box.top) < 2) {
      last.end = index + word.trimEnd().length;
      last.box = { ...last.box, right: box.right };
    } else lines.push({ start: index, end: index + word.trimEnd().length, box: { left: box.left, top: box.top, right: box.right, bottom: box.bottom } });
  }
  return lines.map(({ start, end, box }) => [node.data.slice(start, end), box]);
}

/** Everything that is seen of an element, as the inside of an SVG whose corner is at `origin`. */
function vectors(element, origin, clip) {
  const [ox, oy] = origin;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const seen = (b) => b.left < clip.right && b.right > clip.left && b.top < clip.bottom && b.bottom > clip.top;
  if (element.matches(SKIPPED) || style.display === "none" || style.visibility === "hidden") return "";
  if (element.tagName === "svg") return seen(box) ? nested(element, box, origin) : "";
  if (element.tagName === "CANVAS") return seen(box) ? `<image x="${box.left - ox}" y="${box.top - oy}" width="${box.width}" height="${box.height}" href="${element.toDataURL()}"/>` : "";
  let drawn = seen(box) ? boxOfElement(style, box, origin) : "";
  if (element.localName === "mfrac") {
    const [over, under] = [...element.children].map((child) => child.getBoundingClientRect());
    const y = (over.bottom + under.top) / 2 - oy;
    drawn += `<path d="M${box.left - ox},${y}H${box.right - ox}" stroke="${style.color}"/>`;
  }
  if (element.localName === "msqrt") drawn += `<path d="M${box.left - ox},${box.bottom - oy - 6}l2,-2l3,7V${box.top - oy + 1}H${box.right - ox}" fill="none" stroke="${style.color}"/>`;
  if (element.tagName === "SELECT") return drawn + wordsAt(element.selectedOptions[0]?.textContent || "", { left: box.left + 5, top: box.top + 4, right: box.right, bottom: box.bottom }, style, origin, false);
  const inner = style.overflowX === "visible" ? clip : { left: Math.max(clip.left, box.left), right: Math.min(clip.right, box.right), top: Math.max(clip.top, box.top), bottom: Math.min(clip.bottom, box.bottom) };
  const within = (b) => b.left < inner.right && b.right > inner.left && b.top < inner.bottom && b.bottom > inner.top;
  for (const child of element.childNodes) {
    if (child.nodeType === Node.ELEMENT_NODE) drawn += vectors(child, origin, inner);
    else if (child.nodeType === Node.TEXT_NODE && style.color && !isClear(style.color))
      for (const [text, place] of linesOf(child)) if (within(place)) drawn += wordsAt(text, place, style, origin, true);
  }
  return style.opacity === "1" || !drawn ? drawn : `<g opacity="${style.opacity}">${drawn}</g>`;
}

/** The background, the border and the outline of an element. */
function boxOfElement(style, box, [ox, oy]) {
  const rect = (fill, stroke, width, dash) =>
    `<rect x="${box.left - ox + width / 2}" y="${box.top - oy + width / 2}" width="${Math.max(0, box.width - width)}" height="${Math.max(0, box.height - width)}" rx="${parseFloat(style.borderTopLeftRadius) || 0}" fill="${fill}" stroke="${stroke}" stroke-width="${width}"${dash ? ' stroke-dasharray="3 2"' : ""}/>`;
  const border = parseFloat(style.borderTopWidth) || 0;
  const outline = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth) || 0;
  let drawn = "";
  if (!isClear(style.backgroundColor) || border) drawn += rect(isClear(style.backgroundColor) ? "none" : style.backgroundColor, border ? style.borderTopColor : "none", border, style.borderTopStyle === "dashed");
  if (outline) drawn += rect("none", style.outlineColor, outline, style.outlineStyle === "dashed");
  return drawn;
}

const measure2d = document.createElement("canvas").getContext("2d");

/** Words where they stand on the page. */
function wordsAt(text, box, style, [ox, oy], stretch) {
  measure2d.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const y = box.top - oy + measure2d.measureText("x").fontBoundingBoxAscent;
  const length = stretch && text.length > 1 ? ` textLength="${(box.right - box.left).toFixed(1)}" lengthAdjust="spacingAndGlyphs"` : "";
  return `<text x="${(box.left - ox).toFixed(1)}" y="${y.toFixed(1)}" font-family="${escaped(style.fontFamily)}" font-size="${style.fontSize}" font-weight="${style.fontWeight}" font-style="${style.fontStyle}" fill="${style.color}" xml:space="preserve"${length}>${escaped(text)}</text>`;
}

/** The graph and the step as they are seen, as an SVG that needs nothing else. */
function snapshot() {
  const main = document.querySelector("main");
  const box = main.getBoundingClientRect();
  const paper = getComputedStyle(document.body).backgroundColor;
  const size = `width="${box.width}" height="${box.height}" viewBox="0 0 ${box.width} ${box.height}"`;
  return `<svg xmlns="${SVG}" ${size} font-family="Arial, sans-serif"><title>${escaped(`${document.title}, step ${state.step}`)}</title><rect width="100%" height="100%" fill="${paper}"/>${vectors(main, [box.left, box.top], box)}</svg>`;
}

function download(blob, ending) {
  const link = make("a", { href: URL.createObjectURL(blob), download: `${document.title.replace(/[^\p{L}\p{N}.−-]+/gu, "-")}-step-${state.step}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const saveSvg = () => download(new Blob([snapshot()], { type: "image/svg+xml" }), "svg");

function savePng() {
  const drawing = new Image();
  drawing.onload = () => {
    const canvas = make("canvas", { width: drawing.width * 2, height: drawing.height * 2 });
    canvas.getContext("2d").drawImage(drawing, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => download(blob, "png"), "image/png");
  };
  drawing.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(snapshot())}`;
}

// --- all steps, for the printer --------------------------------------------------------------

/** The part of the graph that a step is about, or all of it. */
function graphAt(step) {
  const [now, from] = about(step);
  const boxes = [now, ...from].filter(Boolean).map((id) => spot(standIn(id)));
  const all = extent();
  const side = (name, sign) => sign * Math.max(...boxes.map((box) => sign * box[name])) + 60 * sign;
  const view_ = boxes.length ? { left: side("left", -1), top: side("top", -1), right: side("right", 1), bottom: side("bottom", 1) } : all;
  const meets = (b) => b.left < view_.right && b.right > view_.left && b.top < view_.bottom && b.bottom > view_.top;
  const parts = [...svg.querySelectorAll("#clusters > *, #edges > *, #cards > *")].filter((g) => {
    if (g.style.display === "none") return false;
    const at_ = g.getBBox();
    const [, dx = 0, dy = 0] = /translate\((\S+) (\S+)\)/.exec(g.getAttribute("transform") || "") || [];
    return meets({ left: at_.x + Number(dx), top: at_.y + Number(dy), right: at_.x + at_.width + Number(dx), bottom: at_.y + at_.height + Number(dy) });
  });
  const [w, h] = [view_.right - view_.left, view_.bottom - view_.top];
  return shape("svg", { viewBox: `${view_.left} ${view_.top} ${w} ${h}`, width: w }, ...parts.map(inlined).filter(Boolean));
}

/** A step as it is shown, without what can be pressed. */
function printedStep() {
  const box = at("step").cloneNode(true);
  box.removeAttribute("id");
  const pictures = at("step").querySelectorAll("canvas");
  box.querySelectorAll("canvas").forEach((canvas, k) => canvas.replaceWith(make("img", { src: pictures[k].toDataURL(), alt: "" })));
  const selects = at("step").querySelectorAll("select");
  box.querySelectorAll("select").forEach((select, k) => select.replaceWith(selects[k].value));
  for (const part of box.querySelectorAll("button, form, [id='inside'], .reads")) part.remove();
  return box;
}

/** Put all steps with their part of the graph where the printer finds them. */
function layOut() {
  if (at("handout")) return;
  const [here, theme] = [state.step, document.documentElement.dataset.theme];
  document.documentElement.dataset.theme = "light";
  const handout = make("div", { id: "handout" }, make("h1", {}, document.title));
  steps.forEach((step, k) => {
    state.step = k;
    show();
    handout.append(make("section", {}, make("div", { class: "number" }, `${k} / ${steps.length - 1}`), svg ? graphAt(step) : "", printedStep()));
  });
  document.body.append(handout);
  state.step = here;
  document.documentElement.dataset.theme = theme;
  show();
}

addEventListener("beforeprint", layOut);
addEventListener("afterprint", () => at("handout")?.remove());
at("save-svg").addEventListener("click", saveSvg);
at("save-png").addEventListener("click", savePng);
at("save-pdf").addEventListener("click", () => print());
for (const id of ["save-svg", "save-png", "save-pdf"]) at(id).addEventListener("click", () => { at(id).closest("details").open = false; });
