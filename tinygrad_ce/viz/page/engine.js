// The engine: runs a program of primitive steps, the same as in Python, on typed arrays.
//
// A value is { shape, type, data }, its elements in order. Integers of 64 bits are held as float64,
// exact up to 2^53; booleans are 0 and 1; "number" is a Python number, which takes the type of the
// array beside it. What is float32 is computed in float64 and stored as float32.

const engine = (() => {
  const ARRAYS = {
    float32: Float32Array, bool: Uint8Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array,
    uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  };
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  const empty = (type, shape) => ({ shape, type, data: new (ARRAYS[type] || Float64Array)(count(shape)) });
  const isInteger = (type) => type === "bool" || type.includes("int");

  // --- where elements lie ----------------------------------------------------------------------

  /** How far one step along each axis moves in the data. */
  function stridesOf(shape) {
    const strides = new Array(shape.length);
    for (let axis = shape.length - 1, n = 1; axis >= 0; n *= shape[axis--]) strides[axis] = n;
    return strides;
  }

  /** The places of all elements of a shape, in order, if one step along an axis moves so far. */
  function placesAt(shape, strides, start = 0) {
    const places = new Int32Array(count(shape)).fill(start);
    let run = 1;
    for (let axis = shape.length - 1; axis >= 0; run *= shape[axis--])
      if (strides[axis] && shape[axis] > 1)
        for (let k = 0; k < places.length; k++) places[k] += (Math.floor(k / run) % shape[axis]) * strides[axis];
    return places;
  }

  /** The elements at these places as a value of a shape. */
  function gather(x, shape, places) {
    const y = empty(x.type, shape);
    for (let k = 0; k < places.length; k++) y.data[k] = x.data[places[k]];
    return y;
  }

  /** Zeros of a shape, plus each element of x at its place. */
  function addedUp(x, shape, places) {
    const sums = new Float64Array(count(shape));
    for (let k = 0; k < places.length; k++) sums[places[k]] += x.data[k];
    return stored(sums, x.type, shape);
  }

  /** Numbers as a value of a type. */
  function stored(numbers, type, shape) {
    const y = empty(type, shape);
    y.data.set(numbers);
    return y;
  }

  /** The shape that operands are repeated to. */
  function broadcast(shapes) {
    const n = Math.max(...shapes.map((shape) => shape.length));
    return Array.from({ length: n }, (_, axis) => {
      const sizes = shapes.map((shape) => shape[axis - n + shape.length] ?? 1);
      return sizes.find((size) => size !== 1) ?? 1;
    });
  }

  /** The places of a value's elements where it is repeated to a larger shape. */
  function repeated(own, shape) {
    const strides = stridesOf(own);
    const before = shape.length - own.length;
    return placesAt(shape, shape.map((_, axis) => (axis < before || own[axis - before] === 1 ? 0 : strides[axis - before])));
  }

  const axesOf = (axis, n) => (axis === null ? [...Array(n).keys()] : [axis].flat().map((a) => (a + n) % n));

  // --- element by element ----------------------------------------------------------------------

  const sameSign = (a, b) => a < 0 === b < 0;
  const remainder = (a, b) => {
    const rest = a % b;
    return rest && !sameSign(rest, b) ? rest + b : rest;
  };
  function floorDivide(a, b) {
    if (!b) return a / b;
    const quotient = (a - remainder(a, b)) / b;
    const whole = Math.floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
  }
  const power = (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b);
  const rint = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  const twoTo = (x, e) => x * 2 ** Math.floor(e / 2) * 2 ** (e - Math.floor(e / 2));

  /** erf as its series, all terms of which have one sign; near 0, where 1 − erfc would cancel. */
  function series(x) {
    let term = (2 / Math.sqrt(Math.PI)) * x * Math.exp(-x * x);
    let sum = 0;
    for (let n = 1; sum + term !== sum; n++) {
      sum += term;
      term *= (2 * x * x) / (2 * n + 1);
    }
    return sum;
  }
  /** erfc as its continued fraction, for x far from 0. */
  function fraction(x) {
    let below = x;
    for (let n = 80; n > 0; n--) below = x + n / 2 / below;
    return Math.exp(-x * x) / Math.sqrt(Math.PI) / below;
  }
  const FAR = 1.5;
  const erf = (x) => (Math.abs(x) < FAR ? series(x) : x !== x ? x : Math.sign(x) * (1 - fraction(Math.abs(x))));
  const erfc = (x) => (Math.abs(x) < FAR ? 1 - series(x) : x > 0 ? fraction(x) : x < 0 ? 2 - fraction(-x) : x);

  const ELEMENTWISE = {
    add: (a, b) => a + b,
    subtract: (a, b) => a - b,
    multiply: (a, b) => a * b,
    divide: (a, b) => a / b,
    negative: (a) => -a,
    power,
    float_power: power,
    square: (a) => a * a,
    reciprocal: (a) => 1 / a,
    absolute: Math.abs,
    remainder,
    floor_divide: floorDivide,
    fmod: (a, b) => a % b,
    greater: (a, b) => a > b,
    greater_equal: (a, b) => a >= b,
    less: (a, b) => a < b,
    less_equal: (a, b) => a <= b,
    equal: (a, b) => a === b,
    not_equal: (a, b) => a !== b,
    maximum: (a, b) => Math.max(a, b),
    minimum: (a, b) => Math.min(a, b),
    sign: Math.sign,
    floor: Math.floor,
    ceil: Math.ceil,
    trunc: Math.trunc,
    rint,
    bitwise_and: (a, b) => a & b,
    bitwise_or: (a, b) => a | b,
    bitwise_xor: (a, b) => a ^ b,
    logical_and: (a, b) => a !== 0 && b !== 0, // nan is not 0
    logical_or: (a, b) => a !== 0 || b !== 0,
    logical_xor: (a, b) => (a !== 0) !== (b !== 0),
    logical_not: (a) => a === 0,
    exp: Math.exp,
    log: Math.log,
    log1p: Math.log1p,
    log2: Math.log2,
    log10: Math.log10,
    expm1: Math.expm1,
    sqrt: Math.sqrt,
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    arcsin: Math.asin,
    arccos: Math.acos,
    arctan: Math.atan,
    arctan2: Math.atan2,
    hypot: (a, b) => Math.hypot(a, b),
    sinh: Math.sinh,
    cosh: Math.cosh,
    tanh: Math.tanh,
    arcsinh: Math.asinh,
    erf,
    erfc,
    isnan: (a) => a !== a,
    isinf: (a) => Math.abs(a) === Infinity,
    isfinite: Number.isFinite,
    ldexp: twoTo,
    copysign: (a, b) => (b < 0 || Object.is(b, -0) ? -Math.abs(a) : Math.abs(a)),
    where: (condition, a, b) => (condition ? a : b),
    masked: (a, keep) => (keep ? a : 0),
    relu: (a) => Math.max(a, 0),
    float: (a) => a,
  };

  /** Python numbers take the precision of the arrays beside them. */
  function settled(xs) {
    if (!xs.some((x) => x.type === "number") || !xs.some((x) => x.type === "float32")) return xs;
    return xs.map((x) => (x.type === "number" ? stored(x.data, "float32", x.shape) : x));
  }

  /** f of each element, or of each two or three that belong together. */
  function elementwise(f, operands, type) {
    const xs = settled(operands);
    const y = empty(type, broadcast(xs.map((x) => x.shape)));
    const out = y.data;
    const data = xs.map((x) => {
      if (x.data.length === out.length) return x.data;
      return gather(x, y.shape, repeated(x.shape, y.shape)).data;
    });
    const [a, b, c] = data;
    if (!b) for (let k = 0; k < out.length; k++) out[k] = f(a[k]);
    else if (!c) for (let k = 0; k < out.length; k++) out[k] = f(a[k], b[k]);
    else for (let k = 0; k < out.length; k++) out[k] = f(a[k], b[k], c[k]);
    return y;
  }

  /** The same numbers in another type. */
  function converted(x, type) {
    if (type === "bool") return elementwise((a) => a !== 0, [x], type);
    return isInteger(type) && !isInteger(x.type) ? elementwise(Math.trunc, [x], type) : stored(x.data, type, x.shape);
  }

  // --- along axes ------------------------------------------------------------------------------

  /** f(result so far, element, how many came before) over the elements along some axes. */
  function reduce(x, { axis, keepdims }, type, start, f) {
    const axes = axesOf(axis, x.shape.length);
    const kept = x.shape.map((n, a) => (axes.includes(a) ? 1 : n));
    const places = repeated(kept, x.shape);
    const results = new Float64Array(count(kept)).fill(start);
    for (let k = 0; k < places.length; k++) results[places[k]] = f(results[places[k]], x.data[k]);
    return stored(results, type, keepdims ? kept : kept.filter((_, a) => !axes.includes(a)));
  }

  /** For each row along an axis: what f makes of the places of its elements. */
  function alongAxis(x, axis, f) {
    const n = x.shape.length ? x.shape[axisOf(axis, x)] : 1;
    const step = x.shape.length ? stridesOf(x.shape)[axisOf(axis, x)] : 1;
    const places = new Array(n);
    for (let k = 0; k < x.data.length; k++) {
      if (Math.floor(k / step) % n) continue;
      for (let i = 0; i < n; i++) places[i] = k + i * step;
      f(places);
    }
  }
  const axisOf = (axis, x) => (axis + x.shape.length) % (x.shape.length || 1);

  /** Running sums or products. */
  function running(x, { axis }, type, f) {
    const results = new Float64Array(x.data.length);
    alongAxis(x, axis, (places) =>
      places.forEach((at, i) => { results[at] = i ? f(results[places[i - 1]], x.data[at]) : x.data[at]; }));
    return stored(results, type, x.shape);
  }

  /** Which element is first by an order: nan before all others. */
  function best(x, { axis, keepdims }, before) {
    const flat = axis === null ? { ...x, shape: [x.data.length] } : x;
    const at = axis === null ? 0 : axisOf(axis, x);
    const shape = axis === null ? (keepdims ? x.shape.map(() => 1) : []) : x.shape.flatMap((n, a) => (a !== at ? [n] : keepdims ? [1] : []));
    const y = empty("int64", shape);
    let k = 0;
    alongAxis(flat, at, (places) => {
      let found = 0;
      places.forEach((place, i) => {
        const [new_, old] = [x.data[place], x.data[places[found]]];
        if (old === old && (new_ !== new_ || before(new_, old))) found = i;
      });
      y.data[k++] = found;
    });
    return y;
  }

  /** The places in sorted order, equal ones as they stand, nan last. */
  function argsort(x, { axis }) {
    const y = empty("int64", x.shape);
    const later = (a, b) => (a !== a ? (b !== b ? 0 : 1) : b !== b ? -1 : a - b || 0);
    alongAxis(x, axis, (places) => {
      const order = places.map((_, i) => i);
      order.sort((i, j) => later(x.data[places[i]], x.data[places[j]]) || i - j);
      places.forEach((place, i) => { y.data[place] = order[i]; });
    });
    return y;
  }

  // --- products --------------------------------------------------------------------------------

  /** a @ b; a vector counts as a row on the left and as a column on the right. */
  function matmul(a, b, type) {
    const left = a.shape.length > 1 ? a.shape : [1, ...a.shape];
    const right = b.shape.length > 1 ? b.shape : [...b.shape, 1];
    const [rows, inner, columns] = [left.at(-2), left.at(-1), right.at(-1)];
    const lead = broadcast([left.slice(0, -2), right.slice(0, -2)]);
    const fromA = repeated(left.slice(0, -2), lead);
    const fromB = repeated(right.slice(0, -2), lead);
    const shape = [...lead, ...(a.shape.length > 1 ? [rows] : []), ...(b.shape.length > 1 ? [columns] : [])];
    const y = empty(type, shape);
    let k = 0;
    for (let q = 0; q < fromA.length; q++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          let sum = 0;
          for (let l = 0, at = (fromA[q] * rows + i) * inner, bt = fromB[q] * inner * columns + j; l < inner; l++, at++, bt += columns)
            sum += a.data[at] * b.data[bt];
          y.data[k++] = sum;
        }
    return y;
  }

  const turned = (x) => transpose(x, [...x.shape.keys()].reverse());
  const dot = (a, b, type) => (a.shape.length && b.shape.length ? matmul(a, b, type) : elementwise(ELEMENTWISE.multiply, [a, b], type));

  /** Σ over the letters that the result lacks. */
  function einsum(xs, { spec }, type) {
    const [terms, out] = spec.replaceAll(" ", "").split("->");
    const inputs = terms.split(",");
    const sizes = {};
    inputs.forEach((term, i) => [...term].forEach((letter, a) => { if ((sizes[letter] ?? 1) === 1) sizes[letter] = xs[i].shape[a]; }));
    if (Object.values(sizes).includes(0)) return empty(type, [...out].map((letter) => sizes[letter]));
    const letters = Object.keys(sizes);
    const all = letters.map((letter) => sizes[letter]);
    const placesOf = (term, shape) => {
      const strides = stridesOf(shape);
      return placesAt(all, letters.map((letter) => (shape[term.indexOf(letter)] > 1 ? strides[term.indexOf(letter)] : 0)));
    };
    const shape = [...out].map((letter) => sizes[letter]);
    const into = placesOf(out, shape);
    const from = inputs.map((term, i) => placesOf(term, xs[i].shape));
    const sums = new Float64Array(count(shape));
    for (let k = 0; k < into.length; k++) sums[into[k]] += xs.reduce((product, x, i) => product * x.data[from[i][k]], 1);
    return stored(sums, type, shape);
  }

  // --- views, parts and indices ----------------------------------------------------------------

  function transpose(x, axes) {
    const strides = stridesOf(x.shape);
    const shape = axes.map((a) => x.shape[a]);
    return gather(x, shape, placesAt(shape, axes.map((a) => strides[a])));
  }

  /** Shape and places of x[start:stop:step] along one axis. */
  function sliced([start, stop, step], n) {
    const by = step ?? 1;
    const bound = (end, otherwise) => {
      if (end === null) return otherwise;
      return Math.min(Math.max(end < 0 ? end + n : end, by > 0 ? 0 : -1), by > 0 ? n : n - 1);
    };
    const [from, to] = by > 0 ? [bound(start, 0), bound(stop, n)] : [bound(start, n - 1), bound(stop, -1)];
    return { from, by, size: Math.max(0, Math.ceil((to - from) / by)) };
  }

  /** Where the true elements of a mask are, along each of its axes. */
  function whereTrue(mask) {
    const found = [...mask.data.keys()].filter((k) => mask.data[k]);
    const strides = stridesOf(mask.shape);
    return mask.shape.map((n, a) => stored(found.map((k) => Math.floor(k / strides[a]) % n), "int64", [found.length]));
  }

  /**
   * Shape and places of x[index]. In an index stand numbers, null for a new axis, "…", "·" for the
   * next index array, and { s: [start, stop, step] }. As in NumPy, index arrays that are not side by
   * side put their axes first.
   */
  function picked(shape, index, arrays) {
    const waiting = [...arrays];
    const spread = index.flatMap((part) => {
      if (part !== "·") return [part];
      const array = waiting.shift();
      return array.type === "bool" ? whereTrue(array) : [array];
    });
    const used = spread.filter((part) => part !== null && part !== "…").length;
    const rest = Array(shape.length - used).fill({ s: [null, null, null] });
    const at = spread.indexOf("…");
    const parts = at < 0 ? [...spread, ...rest] : spread.toSpliced(at, 1, ...rest);
    const strides = stridesOf(shape);
    const axes = []; // { size, stride } of the result, "arrays" once
    const found = []; // [index array, stride, size of its axis]
    let start = 0;
    let axis = 0;
    let apart = false;
    let last = -1;
    const advanced = arrays.length > 0;
    parts.forEach((part, i) => {
      if (part === null) return axes.push({ size: 1, stride: 0 });
      const [n, stride] = [shape[axis], strides[axis++]];
      if (part.s) {
        const { from, by, size } = sliced(part.s, n);
        start += size ? from * stride : 0;
        return axes.push({ size, stride: by * stride });
      }
      if (!advanced) return (start += (part < 0 ? part + n : part) * stride);
      apart ||= last >= 0 && last !== i - 1;
      last = i;
      if (!axes.includes("arrays")) axes.push("arrays");
      found.push([typeof part === "number" ? stored([part], "int64", []) : part, stride, n]);
    });
    if (apart) axes.unshift(...axes.splice(axes.indexOf("arrays"), 1));
    const common = broadcast(found.map(([array]) => array.shape));
    const result = axes.flatMap((a) => (a === "arrays" ? common : [a.size]));
    const places = placesAt(result, axes.flatMap((a) => (a === "arrays" ? common.map(() => 0) : [a.stride])), start);
    const before = axes.indexOf("arrays");
    for (const [array, stride, n] of found) {
      const own = repeated(array.shape, common);
      const inside = stridesOf(common);
      const from = placesAt(result, result.map((_, a) => inside[a - before] ?? 0));
      for (let k = 0; k < places.length; k++) {
        const i = array.data[own[from[k]]];
        if (!(i >= -n && i < n)) throw new RangeError(`index ${i} is outside of an axis of ${n}`);
        places[k] += (i < 0 ? i + n : i) * stride;
      }
    }
    return [result, places];
  }

  function take(x, arrays, index) {
    const [shape, places] = picked(x.shape, index, arrays);
    return gather(x, shape, places);
  }

  function put(x, values, arrays, index) {
    const y = stored(x.data, x.type, x.shape);
    const [shape, places] = picked(x.shape, index, arrays);
    const drop = Math.max(0, values.shape.length - shape.length); // sizes of 1 in front
    const from = repeated(values.shape.slice(drop), shape);
    for (let k = 0; k < places.length; k++) y.data[places[k]] = values.data[from[k]];
    return y;
  }

  function scatter(x, arrays, { index, shape }) {
    const [own, places] = picked(shape, index, arrays);
    return addedUp(gather(x, own, repeated(x.shape, own)), shape, places);
  }

  function concatenate(xs, axis, type) {
    const at = axisOf(axis, xs[0]);
    const shape = xs[0].shape.with(at, xs.reduce((sum, x) => sum + x.shape[at], 0));
    const y = empty(type, shape);
    const strides = stridesOf(shape);
    let before = 0;
    for (const x of xs) {
      const places = placesAt(x.shape, strides, before * strides[at]);
      for (let k = 0; k < places.length; k++) y.data[places[k]] = x.data[k];
      before += x.shape[at];
    }
    return y;
  }

  function stack(xs, axis, type) {
    const n = xs[0].shape.length + 1;
    const at = (axis + n) % n;
    return concatenate(xs.map((x) => ({ ...x, shape: x.shape.toSpliced(at, 0, 1) })), at, type);
  }

  function pad(x, { widths, value }) {
    const shape = x.shape.map((n, a) => widths[a][0] + n + widths[a][1]);
    const strides = stridesOf(shape);
    const places = placesAt(x.shape, strides, strides.reduce((sum, s, a) => sum + s * widths[a][0], 0));
    const y = empty(x.type, shape);
    y.data.fill(value);
    for (let k = 0; k < places.length; k++) y.data[places[k]] = x.data[k];
    return y;
  }

  // --- windows ---------------------------------------------------------------------------------

  /** Shape and places of every window along some axes, the elements of a window last. */
  function sliding(shape, window, axes) {
    const strides = stridesOf(shape);
    const along = axes.map((a) => (a + shape.length) % shape.length);
    const counts = shape.map((n, a) => along.reduce((left, b, i) => (b === a ? left - window[i] + 1 : left), n));
    const all = [...counts, ...window];
    return [all, placesAt(all, [...strides, ...along.map((a) => strides[a])])];
  }

  /** The same two axes apart by a stride, and the shape without the windows' elements. */
  function windowed(shape, axes, size, stride, dilation = [1, 1]) {
    const strides = stridesOf(shape);
    const counts = [...shape];
    const steps = [...strides];
    axes.forEach((a, i) => {
      counts[a] = Math.floor((shape[a] - (size[i] - 1) * dilation[i] - 1) / stride[i]) + 1;
      steps[a] = strides[a] * stride[i];
    });
    const places = placesAt([...counts, ...size], [...steps, ...axes.map((a, i) => strides[a] * dilation[i])]);
    return { shape: counts, places, each: size[0] * size[1] };
  }

  /** The places of the columns that the windows of an image (C, H, W, N) become. */
  function columns(shape, { size, stride, dilation }) {
    const strides = stridesOf(shape);
    const [h, w] = windowed(shape, [1, 2], size, stride, dilation).shape.slice(1, 3);
    const inside = [strides[1] * dilation[0], strides[2] * dilation[1]];
    const all = [shape[0], ...size, h, w, shape[3]];
    const places = placesAt(all, [strides[0], ...inside, strides[1] * stride[0], strides[2] * stride[1], strides[3]]);
    return [[shape[0] * size[0] * size[1], h * w * shape[3]], places];
  }

  /** f(result so far, element) over each window. */
  function pooled(x, { size, stride, axes }, type, start, f) {
    const { shape, places, each } = windowed(x.shape, axes, size, stride);
    const results = new Float64Array(count(shape)).fill(start);
    for (let k = 0; k < places.length; k++) {
      const to = Math.floor(k / each);
      results[to] = f(results[to], x.data[places[k]]);
    }
    return stored(results, type, shape);
  }

  /** Where in each window its largest element y is: the first of equal ones, or the first nan. */
  function argmaxPool(x, y, { size, stride, axes }, type) {
    const { shape, places, each } = windowed(x.shape, axes, size, stride);
    return stored(Array.from(y.data, (largest, k) => {
      let i = 0;
      while (i < each - 1 && x.data[places[k * each + i]] !== largest && x.data[places[k * each + i]] === x.data[places[k * each + i]]) i++;
      return i;
    }), type, shape);
  }

  /** The place of each window's chosen element. */
  function chosen(shape, which, { size, stride, axes }) {
    const { places, each } = windowed(shape, axes, size, stride);
    return Int32Array.from(which.data, (i, k) => places[k * each + i]);
  }

  function unpooled(x, { full, size, stride, axes }) {
    const { places, each } = windowed(full, axes, size, stride);
    return addedUp({ type: x.type, data: Array.from(places, (_, k) => x.data[Math.floor(k / each)]) }, full, places);
  }

  // --- the table -------------------------------------------------------------------------------

  /** The power of two and the fraction of ½ … 1 that a number is made of. */
  function frexp(x) {
    if (!x || !Number.isFinite(x)) return [x, 0];
    let e = Math.max(-1022, Math.floor(Math.log2(Math.abs(x))) + 1);
    let fraction_ = twoTo(x, -e);
    while (Math.abs(fraction_) < 0.5) [fraction_, e] = [fraction_ * 2, e - 1];
    while (Math.abs(fraction_) >= 1) [fraction_, e] = [fraction_ / 2, e + 1];
    return [fraction_, e];
  }

  const all = (x, f) => stored([x.data.every(f)], "bool", []);

  /** (operands, settings, type of the result) -> the result. */
  const TABLE = {
    invert: ([x], s, t) => elementwise(t === "bool" ? (a) => !a : (a) => -a - 1, [x], t),
    clip: ([x], { low, high }, t) => elementwise((a) => Math.min(Math.max(a, low ?? -Infinity), high ?? Infinity), [x], t),
    astype: ([x], s, t) => converted(x, t),
    sum: ([x], s, t) => reduce(x, s, t, 0, (a, b) => a + b),
    prod: ([x], s, t) => reduce(x, s, t, 1, (a, b) => a * b),
    max: ([x], s, t) => reduce(x, s, t, -Infinity, (a, b) => Math.max(a, b)),
    min: ([x], s, t) => reduce(x, s, t, Infinity, (a, b) => Math.min(a, b)),
    all: ([x], s, t) => reduce(x, s, t, 1, (a, b) => a && b !== 0),
    any: ([x], s, t) => reduce(x, s, t, 0, (a, b) => a || b !== 0),
    argmax: ([x], s) => best(x, s, (a, b) => a > b),
    argmin: ([x], s) => best(x, s, (a, b) => a < b),
    cumsum: ([x], s, t) => running(x, s, t, (a, b) => a + b),
    cumprod: ([x], s, t) => running(x, s, t, (a, b) => a * b),
    argsort: ([x], s) => argsort(x, s),
    dot: ([a, b], s, t) => dot(a, b, t),
    inner: ([a, b], s, t) => dot(a, turned(b), t),
    matmul: ([a, b], s, t) => matmul(a, b, t),
    einsum: (xs, s, t) => einsum(xs, s, t),
    reshape: ([x], s) => ({ ...x, shape: s.shape }),
    transpose: ([x], s) => transpose(x, s.axes),
    broadcast_to: ([x], s) => gather(x, s.shape, repeated(x.shape, s.shape)),
    full: ([x], s, t) => stored(gather(x, s.shape, repeated(x.shape, s.shape)).data, t, s.shape),
    windows: ([x], s) => gather(x, ...sliding(x.shape, s.window, s.axes)),
    overlap_add: ([x], s) => addedUp(x, s.full, sliding(s.full, s.window, s.axes)[1]),
    slice: ([x], s) => take(x, [], s.index),
    take: ([x, ...arrays], s) => take(x, arrays, s.index),
    put: ([x, values, ...arrays], s) => put(x, values, arrays, s.index),
    scatter: ([x, ...arrays], s) => scatter(x, arrays, s),
    concatenate: (xs, s, t) => concatenate(xs, s.axis, t),
    stack: (xs, s, t) => stack(xs, s.axis, t),
    pad: ([x], s) => pad(x, s),
    copy: ([x]) => x,
    contiguous: ([x]) => x,
    like: ([x]) => x,
    frexp: ([x], s, t) => elementwise((a) => frexp(a)[s.part], [x], t),
    im2col: ([x], s) => gather(x, ...columns(x.shape, s)),
    col2im: ([x], s) => addedUp(x, s.full, columns(s.full, s)[1]),
    max_pool: ([x], s, t) => pooled(x, s, t, -Infinity, (a, b) => Math.max(a, b)),
    sum_pool: ([x], s, t) => pooled(x, s, t, 0, (a, b) => a + b),
    sum_unpool: ([x], s) => unpooled(x, s),
    argmax_pool: ([x, y], s, t) => argmaxPool(x, y, s, t),
    put_in_windows: ([x, which], s) => addedUp(x, s.full, chosen(s.full, which, s)),
    take_in_windows: ([x, which], s) => gather(x, which.shape, chosen(x.shape, which, s)),
    all_finite: ([x]) => all(x, Number.isFinite),
    all_within: ([x], { low, high, also }) => all(x, (a) => (a >= low && a <= high) || a === also),
    counts_agree: ([x]) => all(x, (a) => a === x.data[0]),
    is_equal: ([x], { value }) => all(x, (a) => a === value),
  };
  for (const [name, f] of Object.entries(ELEMENTWISE)) TABLE[name] = (xs, s, type) => elementwise(f, xs, type);

  // --- programs --------------------------------------------------------------------------------

  /** An array out of the story: all one number, or its bytes. */
  function decode({ s, t, f, b }) {
    if (b === undefined) return stored(new Float64Array(count(s)).fill(Number(f)), t, s);
    const { buffer } = Uint8Array.from(atob(b), (letter) => letter.charCodeAt(0));
    const wide = { int64: BigInt64Array, uint64: BigUint64Array }[t];
    return stored(wide ? Array.from(new wide(buffer), Number) : new (ARRAYS[t] || Float64Array)(buffer), t, s);
  }

  /** The first operation of a program that is not in the table, or undefined. */
  const missing = (program) => program.ops.find((op) => !TABLE[op]);

  /** A step as it stands in the story, { op, operands, settings, type }; it makes value number k. */
  function read(program, [op, ...rest], k) {
    const kinds = (kind) => rest.filter((part) => typeof part === kind);
    const operands = kinds("number").map((back) => k - back);
    return { op: TABLE[program.ops[op]], operands, settings: kinds("object")[0] || {}, type: kinds("string")[0] || program.type };
  }

  /** Every step in turn, on the values that are given; the results come after these. */
  function run(program, given) {
    program.read ??= program.steps.map((step, k) => read(program, step, given.length + k));
    const values = [...given];
    for (const { op, operands, settings, type } of program.read) values.push(op(operands.map((i) => values[i]), settings, type));
    return values;
  }

  return { run, decode, missing, empty, stored, count, names: Object.keys(TABLE) };
})();
