// The scripts of the page are packed (deflate, as base64), a third of their size: here they are unpacked and run.

/** What was packed: RFC 1951. */
function inflate(bytes) {
  const out = [];
  let at = 0; // in bits
  const bits = (n) => {
    let value = 0;
    for (let i = 0; i < n; i++, at++) value |= ((bytes[at >> 3] >> (at & 7)) & 1) << i;
    return value;
  };
  /** A Huffman code by the lengths of its words: how many there are of each, and their symbols in order. */
  const code = (lengths) => {
    const symbols = [...lengths.keys()].filter((i) => lengths[i]).sort((i, j) => lengths[i] - lengths[j] || i - j);
    return { counts: Array.from({ length: 16 }, (_, n) => lengths.filter((m) => n && m === n).length), symbols };
  };
  const symbol = ({ counts, symbols }) => {
    let [word, first, index] = [0, 0, 0];
    for (let n = 1; n < 16; n++) {
      word += bits(1);
      if (word - first < counts[n]) return symbols[index + word - first];
      index += counts[n];
      first = 2 * (first + counts[n]);
      word *= 2;
    }
    throw new Error("The scripts of this page are damaged.");
  };
  /** The least value of each symbol of a length or a distance, and how many bits are added to it. */
  const ranges = (extra, from) => extra.map((n, i) => [extra.slice(0, i).reduce((sum, m) => sum + 2 ** m, from), n]);
  const steps = (count, each) => Array.from({ length: count }, (_, i) => Math.max(0, Math.floor(i / each) - 1));
  const runs = [...ranges(steps(28, 4), 3), [258, 0]];
  const distances = ranges(steps(30, 2), 1);
  const read = ([from, extra]) => from + bits(extra);
  const fixed = [...Array(144).fill(8), ...Array(112).fill(9), ...Array(24).fill(7), ...Array(8).fill(8)];

  /** The two codes of a block, which are written before it. */
  const codes = () => {
    const [literals, apart, own] = [bits(5) + 257, bits(5) + 1, bits(4) + 4];
    const lengths = Array(19).fill(0);
    for (const i of [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].slice(0, own)) lengths[i] = bits(3);
    const short = code(lengths);
    const all = [];
    while (all.length < literals + apart) {
      const n = symbol(short);
      if (n < 16) all.push(n);
      else if (n === 16) all.push(...Array(bits(2) + 3).fill(all.at(-1)));
      else all.push(...Array(n === 17 ? bits(3) + 3 : bits(7) + 11).fill(0));
    }
    return [code(all.slice(0, literals)), code(all.slice(literals))];
  };

  for (let last = 0; !last; ) {
    last = bits(1);
    const kind = bits(2);
    if (!kind) { // as it is
      at = (at + 7) & ~7;
      const n = bits(16);
      at += 16;
      for (let i = 0; i < n; i++) out.push(bits(8));
      continue;
    }
    const [literal, distance] = kind === 1 ? [code(fixed), code(Array(30).fill(5))] : codes();
    for (let s = symbol(literal); s !== 256; s = symbol(literal)) {
      if (s < 256) out.push(s);
      else {
        const n = read(runs[s - 257]);
        const back = read(distances[symbol(distance)]);
        for (let i = 0; i < n; i++) out.push(out[out.length - back]);
      }
    }
  }
  return new Uint8Array(out);
}

{
  const packed = Uint8Array.from(atob(document.getElementById("packed").textContent), (letter) => letter.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(inflate(packed));
  document.body.append(script);
}
