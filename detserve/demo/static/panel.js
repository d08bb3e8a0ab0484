// The right side: how many there are, the list, the JSON, the curl command, and the time of each stage.

import { LEAST } from "./api.js";
import { colour } from "./view.js";

const STAGES = { decode: "decode", infer: "network", post: "boxes" };

/** "4 faces": what the detections of an answer are. */
export function count(found, shown) {
  const [one, many] = kind(found[0] ?? {});
  return `${shown} ${shown === 1 ? one : many}`;
}

function kind(found) {
  if (found.landmarks_ratio) return ["face", "faces"];
  if (found.text !== undefined) return ["text", "texts"];
  if (found.quad_ratio) return ["text region", "text regions"];
  return found.label === undefined ? ["detection", "detections"] : ["object", "objects"];
}

/** The detections as JSON, one a line. */
export function json(found) {
  return found.length ? `[\n  ${found.map((each) => JSON.stringify(each)).join(",\n  ")}\n]` : "[]";
}

/** The command that asks the server itself for what is shown. */
export function curl({ server, token }, model, name, threshold, found) {
  const quoted = name.replaceAll("'", "'\\''");
  const key = token ? ' \\\n  -H "Authorization: Bearer $DETSERVE_TOKEN"' : "";
  const masks = found.some((each) => each.mask_rle) ? " \\\n  -H 'X-Masks: rle'" : "";
  return `curl -gT '${quoted}'${key}${masks} \\\n  -H 'X-Conf-Threshold: ${threshold.toFixed(2)}' \\\n  ${server.replace(/\/$/, "")}/predictions/${model}`;
}

export class Panel {
  /** onmark: called with the index of the row that is pointed at or has the focus, or -1. */
  constructor(elements, onmark) {
    Object.assign(this, elements);
    this.rows = [];
    this.marked = -1;
    const index = (event) => this.rows.indexOf(event.target.closest("li"));
    this.list.addEventListener("pointerover", (event) => onmark(index(event)));
    this.list.addEventListener("pointerleave", () => onmark(-1));
    this.list.addEventListener("focusin", (event) => onmark(index(event)));
    this.list.addEventListener("click", (event) => onmark(index(event))); // a finger has left, the focus was there
    this.list.addEventListener("focusout", () => onmark(-1));
  }

  /** A new answer. */
  set(found) {
    this.found = found;
    this.marked = -1;
    const [name] = kind(found[0] ?? {});
    this.rows = found.map((each, i) => row(each, each.text || each.label || `${name[0].toUpperCase()}${name.slice(1)} ${i + 1}`));
    this.list.replaceChildren(...this.rows);
  }

  /** Only rows that change are touched: there may be a thousand. */
  filter(threshold) {
    let shown = 0;
    this.found.forEach((each, i) => {
      const hidden = each.conf < threshold;
      if (this.rows[i].hidden !== hidden) this.rows[i].hidden = hidden;
      shown += !hidden;
    });
    return shown;
  }

  mark(index, scroll) {
    this.rows[this.marked]?.classList.remove("marked");
    this.marked = index;
    const chosen = this.rows[index];
    chosen?.classList.add("marked");
    if (scroll && chosen) {
      const { offsetTop, offsetHeight } = chosen;
      const box = this.list.parentElement;
      if (offsetTop < box.scrollTop || offsetTop + offsetHeight > box.scrollTop + box.clientHeight) {
        box.scrollTop = offsetTop - box.clientHeight / 2;
      }
    }
  }

  focus(index) {
    this.rows[index]?.querySelector("button").focus({ preventScroll: true });
  }

  /** An answer's stages, and what it took in all for this page; nothing where there is none. */
  times({ stages, ms } = {}) {
    this.total.textContent = stages ? time(ms) : "–";
    if (!stages) {
      this.bar.replaceChildren();
      this.dl.replaceChildren();
      return;
    }
    const within = stages.reduce((sum, stage) => sum + stage.ms, 0);
    const parts = [...stages, { name: "rest", ms: Math.max(0, ms - within) }];
    this.bar.replaceChildren(
      ...parts.map(({ name, ms: part }) => {
        const piece = document.createElement("i");
        piece.className = name;
        piece.style.flexGrow = part;
        return piece;
      }),
    );
    this.dl.replaceChildren(
      ...parts.map(({ name, ms: part }) => {
        const entry = document.createElement("div");
        const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
        dt.textContent = STAGES[name] ?? "transfer";
        dt.className = name;
        dd.textContent = time(part);
        entry.append(dt, dd);
        return entry;
      }),
    );
  }
}

function time(ms) {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function row(found, title) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const name = document.createElement("span");
  const conf = document.createElement("span");
  button.type = "button";
  name.className = "name";
  name.textContent = title;
  conf.className = "conf";
  conf.textContent = found.conf.toFixed(2);
  if (found.label_id !== undefined) {
    const swatch = document.createElement("i");
    swatch.style.background = colour(found);
    button.append(swatch);
  }
  button.append(name, conf);
  item.append(button);
  item.hidden = found.conf < LEAST;
  return item;
}
