// COCO's compressed run lengths: columns from left to right, zeros and ones in turn, beginning with zeros.

/**
 * "counts" → run lengths. Five bits a letter from "0" on, lowest first; 32: another follows; 16 in the last: negative.
 * From the fourth on a number is the difference to the last but one.
 */
export function runs(counts) {
  const lengths = [];
  let value = 0;
  let shift = 0;
  for (let i = 0; i < counts.length; i++) {
    const code = counts.charCodeAt(i) - 48;
    value += (code & 31) * 2 ** shift;
    shift += 5;
    if (code & 32) continue;
    if (code & 16) value -= 2 ** shift;
    lengths.push(value + (lengths.length > 2 ? lengths[lengths.length - 2] : 0));
    value = shift = 0;
  }
  return lengths;
}

/** A mask as upright strokes of one pixel's width → [[x, from y, to y], …]; `height` of the mask in pixels. */
export function strokes(counts, height) {
  const found = [];
  let at = 0;
  runs(counts).forEach((length, i) => {
    if (i % 2) {
      for (let from = at, end = at + length; from < end; ) {
        const x = Math.floor(from / height);
        const to = Math.min(end, (x + 1) * height);
        found.push([x, from - x * height, to - x * height]);
        from = to;
      }
    }
    at += length;
  });
  return found;
}

/**
 * A mask as a bitmap of that colour, made smaller where its picture is larger than `most` pixels on a side.
 * → {canvas, x, y, width, height}: where it lies in ratios of the picture; null for an empty one.
 */
export function bitmap({ size: [height, width], counts }, [red, green, blue], most = 1024) {
  const lines = strokes(counts, height);
  if (!lines.length) return null;
  const scale = Math.min(1, most / Math.max(width, height));
  const left = Math.floor(lines[0][0] * scale);
  const right = Math.floor(lines[lines.length - 1][0] * scale) + 1;
  let top = Infinity;
  let bottom = 0;
  for (const [, from, to] of lines) {
    top = Math.min(top, from);
    bottom = Math.max(bottom, to);
  }
  top = Math.floor(top * scale);
  bottom = Math.ceil(bottom * scale);
  const image = new ImageData(right - left, bottom - top);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
  for (const [x, from, to] of lines) {
    const column = Math.floor(x * scale) - left;
    for (let y = Math.floor(from * scale); y < Math.ceil(to * scale); y++) {
      pixels[(y - top) * image.width + column] = colour;
    }
  }
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const across = width * scale;
  const down = height * scale;
  return { canvas, x: left / across, y: top / down, width: image.width / across, height: image.height / down };
}
