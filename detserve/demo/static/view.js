// The picture, and over it a canvas with what was found.

import { bitmap } from "./rle.js";

const BOX = "#2ee6a8";
const POINT = "#ff9f1c";
const POLYGON = "#6ab0ff";
const OBJECTS = ["#ff6b6b", "#4cc9f0", "#ffd166", "#c77dff", "#80ed99", "#f78c6b", "#5e9bff", "#ff8fab", "#b8de6f"];
const CASING = "rgba(0, 0, 0, .55)";
const GROUND = "rgba(13, 17, 23, .94)";
const FONT = "600 12px system-ui, sans-serif";
const LABEL = { height: 18, pad: 5 };
/** The most of another box that a label may cover. */
const HIDDEN = 0.1;

/** Of a detection: its outline as x, y in turn, clockwise from its top left, in ratios. */
export function outline(found) {
  if (found.quad_ratio) return found.quad_ratio;
  const [x, y, w, h] = found.xywh_ratio;
  return [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2];
}

/** The radius of a landmark's dot in CSS pixels, for a face of that height on the screen. */
export function dot(height) {
  return Math.max(0.75, height * 0.022);
}

export function colour(found) {
  return found.label_id === undefined ? BOX : OBJECTS[Math.abs(found.label_id) % OBJECTS.length];
}

/** What a detection is called in a label: its text, its class, or its confidence alone. */
export function caption(found) {
  return found.text ?? (found.label ? `${found.label} ${found.conf.toFixed(2)}` : found.conf.toFixed(2));
}

export class View {
  /** onpoint: called with the index of the detection under the pointer, or -1; onpick: when one is clicked. */
  constructor(stage, figure, picture, canvas, { onpoint, onpick }) {
    Object.assign(this, { stage, figure, picture, canvas });
    this.context = canvas.getContext("2d");
    this.size = [0, 0];
    this.found = [];
    this.threshold = 0;
    this.labels = true;
    this.marked = -1;
    new ResizeObserver(() => this.fit()).observe(stage);
    canvas.addEventListener("pointermove", (event) => onpoint(this.at(event)));
    canvas.addEventListener("pointerleave", () => onpoint(-1));
    canvas.addEventListener("click", (event) => onpick(this.at(event)));
  }

  /** Show a picture without detections, where the browser can; of one that it cannot show only the server knows the size. */
  async show(url, name) {
    this.set([], null);
    this.picture.alt = name;
    this.picture.src = url;
    const seen = await this.picture.decode().then(() => true, () => false);
    if (this.picture.getAttribute("src") !== url) return;
    this.figure.classList.toggle("unshown", !seen);
    this.resize(seen ? [this.picture.naturalWidth, this.picture.naturalHeight] : [0, 0]);
  }

  /** What was found, in a picture of that size, [width, height] or null where it is not known. */
  set(found, size) {
    this.found = found;
    this.marked = -1;
    this.masks = found.map((each) => each.mask_rle && bitmap(each.mask_rle, rgb(colour(each))));
    if (size && this.figure.classList.contains("unshown")) this.resize(size);
    this.draw();
  }

  resize(size) {
    this.size = size;
    this.fit();
  }

  /** The largest figure that fits into the stage, and a canvas as fine as the screen. */
  fit() {
    const [width, height] = this.size;
    this.figure.hidden = !width || !height;
    if (this.figure.hidden) return;
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    this.width = Math.max(1, Math.round(width * scale));
    this.height = Math.max(1, Math.round(height * scale));
    this.figure.style.width = `${this.width}px`;
    this.figure.style.height = `${this.height}px`;
    const fine = Math.min(2, devicePixelRatio);
    this.canvas.width = this.width * fine;
    this.canvas.height = this.height * fine;
    this.context.setTransform(fine, 0, 0, fine, 0, 0);
    this.draw();
  }

  /** The smallest detection under the pointer, or -1. */
  at(event) {
    const x = event.offsetX / this.width;
    const y = event.offsetY / this.height;
    let best = -1;
    let least = Infinity;
    this.found.forEach((each, i) => {
      const [cx, cy, w, h] = each.xywh_ratio;
      if (each.conf < this.threshold || Math.abs(x - cx) > w / 2 || Math.abs(y - cy) > h / 2 || w * h >= least) return;
      best = i;
      least = w * h;
    });
    return best;
  }

  draw() {
    const { context, found, threshold } = this;
    context.clearRect(0, 0, this.width, this.height);
    const shown = [];
    for (let i = 0; i < found.length; i++) if (found[i].conf >= threshold) shown.push(i);
    if (this.marked >= 0 && found[this.marked].conf < threshold) this.marked = -1;
    this.drawMasks(shown);
    this.drawOutlines(shown);
    this.drawPoints(shown);
    if (this.labels) this.drawLabels(shown);
    if (this.marked >= 0) this.drawMarked(found[this.marked]);
  }

  drawMasks(shown) {
    for (const i of shown) {
      const mask = this.masks[i];
      if (!mask) continue;
      this.context.globalAlpha = i === this.marked ? 0.7 : 0.42;
      const { x, y, width, height } = mask;
      this.context.drawImage(mask.canvas, x * this.width, y * this.height, width * this.width, height * this.height);
    }
    this.context.globalAlpha = 1;
  }

  /** Dark below, so that lines stand out on every picture. */
  drawOutlines(shown) {
    const { context, found } = this;
    for (const [width, casing] of [[3.5, CASING], [2, null]]) {
      context.lineWidth = width;
      for (const i of shown) {
        context.strokeStyle = casing ?? colour(found[i]);
        if (found[i].quad_ratio) this.strokePoints(found[i].quad_ratio);
        else this.strokeBox(found[i].xywh_ratio);
        if (!found[i].polygon_ratio) continue;
        context.strokeStyle = casing ?? POLYGON;
        this.strokePoints(found[i].polygon_ratio);
      }
    }
  }

  /** Ten times as fast as a path of the same four lines, as long as its corners are sharp. */
  strokeBox([x, y, w, h]) {
    this.context.strokeRect((x - w / 2) * this.width, (y - h / 2) * this.height, w * this.width, h * this.height);
  }

  strokePoints(points) {
    this.trace(points);
    this.context.stroke();
  }

  drawPoints(shown) {
    for (const i of shown) {
      const points = this.found[i].landmarks_ratio ?? [];
      const radius = dot(this.found[i].xywh_ratio[3] * this.height);
      for (let k = 0; k < points.length; k += 2) this.drawDot(points[k] * this.width, points[k + 1] * this.height, radius);
    }
  }

  /** A square where nobody sees the difference: crowds have thousands, and circles take longer. */
  drawDot(x, y, radius) {
    const { context } = this;
    context.fillStyle = POINT;
    if (radius < 1.5) {
      const side = Math.max(1, Math.round(2 * radius));
      context.fillRect(Math.round(x - radius), Math.round(y - radius), side, side);
      return;
    }
    for (const [style, r] of [[CASING, radius + 0.8], [POINT, radius]]) {
      context.fillStyle = style;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** Texts take the place of what they were read from. Other labels stand on boxes that are large enough to bear one. */
  drawLabels(shown) {
    const boxes = shown.map((i) => this.rectangle(this.found[i]));
    shown.forEach((i, k) => {
      if (this.found[i].text !== undefined) this.drawText(this.found[i]);
      else this.drawTag(this.found[i], boxes, k);
    });
  }

  /** The box of a detection on the canvas: left, top, right, bottom. */
  rectangle({ xywh_ratio: [x, y, w, h] }) {
    return [(x - w / 2) * this.width, (y - h / 2) * this.height, (x + w / 2) * this.width, (y + h / 2) * this.height];
  }

  /** A label above its box, below, or in a large one, where it hides none of the others; nowhere if there is no place. */
  drawTag(found, boxes, own) {
    const { context } = this;
    const [left, top, right, bottom] = boxes[own];
    if (right - left < 40 || bottom - top < 3 * LABEL.height) return;
    const text = caption(found);
    context.font = FONT;
    const width = context.measureText(text).width + 2 * LABEL.pad;
    if (width > right - left + 2) return;
    const x = this.within(left, width);
    const free = (y) => y >= 0 && y + LABEL.height <= this.height && !hides(x, y, width, boxes, own);
    const places = [top - LABEL.height, bottom];
    if (bottom - top >= 6 * LABEL.height) places.push(Math.max(0, top));
    const y = places.find(free);
    if (y !== undefined) this.writeTag(found, text, x, y, width);
  }

  /** x of a label, moved until the canvas has all of it. */
  within(left, width) {
    return Math.max(0, Math.min(left - 1, this.width - width));
  }

  writeTag(found, text, x, y, width) {
    const { context } = this;
    context.fillStyle = colour(found);
    context.fillRect(x, y, width, LABEL.height);
    context.fillStyle = "#06110d";
    context.textBaseline = "middle";
    context.fillText(text, x + LABEL.pad, y + LABEL.height / 2 + 0.5);
  }

  /** The text along the upper side of its quad, as large as the quad. */
  drawText(found) {
    const { context } = this;
    const [x1, y1, x2, y2, , , x4, y4] = outline(found).map((value, k) => value * (k % 2 ? this.height : this.width));
    const width = Math.hypot(x2 - x1, y2 - y1);
    const height = Math.hypot(x4 - x1, y4 - y1);
    if (width < 4 || height < 6 || !found.text) return;
    context.save();
    context.translate(x1, y1);
    context.rotate(Math.atan2(y2 - y1, x2 - x1));
    context.fillStyle = GROUND;
    context.fillRect(0, 0, width, height);
    context.font = `600 ${Math.min(height * 0.74, 200)}px system-ui, sans-serif`;
    context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillText(found.text, width / 2, height / 2 + height * 0.03, width * 0.94);
    context.restore();
  }

  drawMarked(found) {
    const { context } = this;
    this.trace(outline(found));
    context.fillStyle = "rgba(255, 255, 255, .22)";
    if (!found.mask_rle && found.text === undefined) context.fill();
    for (const [style, width] of [[CASING, 6], ["#fff", 3.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke();
    }
    if (found.text !== undefined) return;
    context.font = FONT;
    const [left, top] = this.rectangle(found);
    const width = context.measureText(caption(found)).width + 2 * LABEL.pad;
    const above = top - LABEL.height;
    const y = above < 0 ? Math.min(top, this.height - LABEL.height) : above;
    this.writeTag(found, caption(found), this.within(left, width), y, width);
  }

  /** x, y in turn, in ratios, as the context's path. */
  trace(points) {
    const { context } = this;
    context.beginPath();
    for (let k = 0; k < points.length; k += 2) context.lineTo(points[k] * this.width, points[k + 1] * this.height);
    context.closePath();
  }
}

/** Whether a label there would cover more of another box than it may. */
function hides(x, y, width, boxes, own) {
  for (let k = 0; k < boxes.length; k++) {
    const [left, top, right, bottom] = boxes[k];
    if (k === own || x >= right || y >= bottom || x + width <= left || y + LABEL.height <= top) continue;
    const shared = (Math.min(x + width, right) - Math.max(x, left)) * (Math.min(y + LABEL.height, bottom) - Math.max(y, top));
    if (shared > HIDDEN * (right - left) * (bottom - top)) return true;
  }
  return false;
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
