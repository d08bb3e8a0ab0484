// What is asked of the server, and how its answers are read.

/** The least confidence that is asked for. What the slider hides is filtered here, without asking again. */
export const LEAST = 0.1;

/** Busy, away or too slow: asking again may help, as where there was no answer at all. */
const PASSES = [429, 502, 503, 504, "No answer", "No model"];

/** An error in the server's own words. status: of HTTP, or what there is in its place. */
export class ServerError extends Error {
  constructor(status, type, message) {
    super(message);
    this.title = type ? `${status} ${type}` : `${status}`;
    this.passes = PASSES.includes(status);
  }
}

/** What was thrown, as an error to be shown. */
export function told(error) {
  return error instanceof ServerError ? error : new ServerError("No answer", "", error.message);
}

/** → {models: [name], server: URL, token: whether it asks for one, limit: bytes of a body} */
export async function models() {
  return read(await fetch("models"));
}

/**
 * Send a picture's bytes as they are.
 * → {model, found: [detection], size: [width, height] upright, stages: [{name, ms}], ms: in all}
 */
export async function predict(model, file, limit, signal) {
  if (file.size > limit) {
    throw new ServerError(413, "body_too_large", `the body is over ${limit / 2 ** 20} MiB: send a smaller file`);
  }
  const begun = performance.now();
  const response = await fetch(`predictions/${encodeURIComponent(model)}`, {
    method: "PUT",
    body: file,
    headers: { "Content-Type": "application/octet-stream", "X-Conf-Threshold": `${LEAST}`, "X-Masks": "rle" },
    signal,
  });
  const found = await read(response);
  return {
    model: response.headers.get("X-Model") ?? model,
    found,
    size: (response.headers.get("X-Image-Size") ?? "").split("x").map(Number),
    stages: stages(response.headers.get("Server-Timing") ?? ""),
    ms: performance.now() - begun,
  };
}

/** "decode;dur=12.5, infer;dur=9" → [{name: "decode", ms: 12.5}, …] */
export function stages(header) {
  return [...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => ({ name, ms: Number(ms) }));
}

async function read(response) {
  const text = await response.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new ServerError(response.status, "", text || response.statusText || "an answer without a body");
  }
  if (!response.ok) {
    throw new ServerError(response.status, body.type ?? "", body.message ?? text);
  }
  return body;
}
