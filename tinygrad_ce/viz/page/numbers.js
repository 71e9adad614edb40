// Numbers as words, by the same rules as in Python: a few digits, a real minus sign, one line.

const SHOWN = 5; // so many elements still fit on a card
const EXACT = 9_999_999; // up to here an integer shows all its digits

/** A number to so many digits, of two that are as near the even one: mantissa and exponent. */
function fewDigits(x, digits = story.digits) {
  const size = Math.abs(x);
  const [all, power] = size.toExponential(Math.min(digits + 19, 60)).split("e");
  const kept = all.slice(0, digits + (digits > 1));
  const even = "02468".includes(kept.at(-1)) && /^\.?50*$/.test(all.slice(kept.length));
  return even ? [kept, Number(power)] : size.toExponential(digits - 1).split("e").map((s, i) => (i ? Number(s) : s));
}

/** The number that is shown for x. */
function rounded(x) {
  if (!x || !Number.isFinite(x)) return x;
  const [mantissa, power] = fewDigits(x);
  return Math.sign(x) * Number(`${mantissa}e${power}`);
}

/** One element of an array of a type, as a window holds it. */
function plain(x, type) {
  if (type === "bool" || type.includes("int")) return x;
  const y = rounded(x);
  return Number.isFinite(y) ? y : numberText(x, type);
}

const HUGE = 1e4; // what hides scores that it is added to
const ALONE = 1e5; // up to here a number that stands alone shows what is after its point

/** A number that stands alone: what is before the point does not count as digits. */
function singleText(x, type) {
  const size = Math.abs(x);
  return numberText(x, type, size >= 1 && size < ALONE ? String(Math.trunc(size)).length : 0);
}

/** One number of a type as words, with more digits than others. */
function numberText(x, type = "float64", more = 0) {
  if (type === "bool") return x ? "true" : "false";
  if (x !== x) return "nan";
  const sign = x < 0 ? "−" : "";
  if (Math.abs(x) === Infinity) return `${sign}∞`;
  if (type.includes("int") && Math.abs(x) <= EXACT) return `${sign}${Math.abs(x)}`;
  if (!x) return "0";
  const [mantissa, power] = fewDigits(x, story.digits + more);
  if (power < -4 || power >= story.digits + more) return `${sign}${Number(mantissa)}e${power}`;
  return `${sign}${Number(`${mantissa}e${power}`)}`;
}

/** Elements as nested lists, a row or a column as one list; with more digits than others, or fewer. */
function listText({ shape, data, type }, more = 0) {
  const texts = Array.from(data, (x) => numberText(x, type, more));
  if (!shape.length) return texts[0];
  const nested = (sizes, from) => {
    if (!sizes.length) return texts[from];
    const [n, ...rest] = sizes;
    return `[${Array.from({ length: n }, (_, i) => nested(rest, from + i * sizeOf(rest))).join(", ")}]`;
  };
  return nested(texts.length === Math.max(...shape) ? [texts.length] : shape, 0);
}

/** What is in an array, on one line. */
function valueText(x) {
  const { data, type } = x;
  if (!data.length) return "empty";
  if (!x.shape.length) return singleText(data[0], type);
  if (data.length <= SHOWN) return listText(x);
  const many = (f) => data.reduce((n, a) => n + f(a), 0);
  if (type === "bool") return `${many(Number)} of ${data.length} true`;
  if (type.includes("int")) {
    const ends = [Infinity, -Infinity].map((start, i) => data.reduce((a, b) => (i ? Math.max(a, b) : Math.min(a, b)), start));
    return ends.map((end) => numberText(end, type)).join(" … ");
  }
  const finite = Array.from(data).filter(Number.isFinite);
  const [usual, masked] = withoutMask(finite);
  const parts = usual.length ? [spreadText(usual, type)] : [];
  if (masked.length) parts.push(`${masked.length} × ${numberText(masked[0])}`);
  const odd = { nan: (a) => a !== a, "∞": (a) => a === Infinity, "−∞": (a) => a === -Infinity };
  for (const [name, f] of Object.entries(odd)) if (many(f)) parts.push(`${many(f)} × ${name}`);
  return parts.join(", ");
}

/** Numbers, and apart from them a huge one that many of them are, such as −1e9 for a mask. */
function withoutMask(numbers) {
  const extreme = numbers.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  const near = (x) => Math.abs(x - extreme) <= 1e-3 * Math.abs(extreme);
  const rest = numbers.filter((x) => !near(x));
  const plain = Math.abs(extreme) < HUGE || !rest.length || largestOf(rest) > 1e-3 * Math.abs(extreme);
  return plain ? [numbers, []] : [rest, numbers.filter(near)];
}

const largestOf = (numbers) => numbers.reduce((a, b) => Math.max(a, Math.abs(b)), 0);

/** Mean ± standard deviation, scaled so that no square overflows. */
function spreadText(numbers, type) {
  const scale = largestOf(numbers) || 1;
  const average = (f) => numbers.reduce((sum, x) => sum + f(x / scale), 0) / numbers.length;
  const mean = average((x) => x);
  const deviation = Math.sqrt(average((x) => (x - mean) ** 2));
  const nothing = Math.abs(mean) < (type === "float32" ? 2 ** -23 : 2 ** -52) * deviation;
  return `${numberText(nothing ? 0 : mean * scale)} ± ${numberText(deviation * scale)}`;
}

/** A gradient: the number, or the norm of more. */
function gradientText({ data }) {
  if (!data.length) return "∇ empty";
  if (data.length === 1) return `∇ ${singleText(data[0])}`;
  const scale = data.some((x) => x !== x) ? NaN : largestOf(data);
  if (!(scale > 0 && scale < Infinity)) return `‖∇‖ ${numberText(scale)}`;
  return `‖∇‖ ${numberText(scale * Math.sqrt(data.reduce((sum, x) => sum + (x / scale) ** 2, 0)))}`;
}
