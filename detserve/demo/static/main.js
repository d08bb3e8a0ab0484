// The page: its pictures, the model that is chosen, and which answer is shown.

import { LEAST, ServerError, models, predict, told } from "./api.js";
import { Panel, count, curl, json } from "./panel.js";
import { listen } from "./sources.js";
import { View } from "./view.js";

const AT_ONCE = 2;
const KNOWN = [[/^fd/, "Faces"], [/^td/, "Text regions"], [/^ocr/, "Text"], [/^md/, "Objects"]];

const $ = (id) => document.getElementById(id);

/**
 * picture: {file, url, answers: {model: answer | ServerError}, button: in the strip}
 * problem: why no model can be asked, a ServerError
 */
const state = { facts: { models: [], limit: Infinity }, model: "", problem: null, pictures: [], shown: null, threshold: 0.5 };
let asking = new AbortController();
let meeting = null;
let speaking = 0;

const view = new View($("stage"), $("figure"), $("picture"), $("canvas"), {
  onpoint: (index) => mark(index, true),
  onpick: (index) => {
    mark(index, true); // a finger points at nothing, and what has the focus already does not get it
    panel.focus(index);
  },
});
const panel = new Panel({ list: $("found"), bar: $("bar"), dl: $("times"), total: $("total") }, (index) => mark(index, false));

function mark(index, scroll) {
  if (view.marked === index) return;
  view.marked = index;
  view.draw();
  panel.mark(index, scroll);
  $("canvas").classList.toggle("pointing", index >= 0);
}

/** Take new pictures, show the first of them, and ask for all. */
function take(files) {
  if (!files.length) return;
  const added = files.map((file) => ({ file, url: URL.createObjectURL(file), answers: {}, button: null }));
  state.pictures.push(...added);
  for (const picture of added) $("strip").append(thumbnail(picture));
  choose(added[0]);
  askAll();
}

function thumbnail(picture) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  const badge = document.createElement("span");
  picture.button = document.createElement("button");
  picture.button.type = "button";
  image.addEventListener("error", () => image.replaceWith(picture.file.name)); // a format that no browser shows
  image.src = picture.url;
  image.alt = picture.file.name;
  picture.button.title = picture.file.name;
  picture.button.append(image, badge);
  picture.button.addEventListener("click", () => {
    choose(picture);
    askAll();
  });
  item.append(picture.button);
  $("strip").hidden = state.pictures.length < 2;
  return item;
}

function choose(picture) {
  state.shown = picture;
  for (const { button } of state.pictures) button.removeAttribute("aria-current");
  picture.button.setAttribute("aria-current", "true");
  picture.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  $("summary").dataset.state = "busy";
  picture.drawn = view.show(picture.url, picture.file.name);
  show();
}

/** Find out which models there are, once however often it is asked for → whether there is one. */
function meet() {
  meeting ??= (async () => {
    state.problem = null;
    if (state.shown) show();
    try {
      state.facts = await models();
      if (!state.facts.models.length) {
        const { server } = state.facts;
        throw new ServerError("No model", "", `the server at ${server} has none that this page knows: --models names them`);
      }
      [state.model] = state.facts.models;
      offer(state.facts.models);
    } catch (error) {
      state.problem = told(error);
    }
    meeting = null;
    if (state.shown) show();
    return !state.problem;
  })();
  return meeting;
}

/** Ask for every picture that the chosen model has not answered, the one that is shown first, two at a time. */
async function askAll() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (!state.model && !(await meet())) return;
  if (signal.aborted) return;
  const { model } = state;
  for (const each of state.pictures) {
    if (!each.answers[model]?.passes) continue;
    delete each.answers[model];
    badge(each);
    if (each === state.shown) show();
  }
  const waiting = [state.shown, ...state.pictures].filter((each, i, all) => !each.answers[model] && all.indexOf(each) === i);
  const worker = async () => {
    while (waiting.length && !signal.aborted) await ask(waiting.shift(), model, signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function ask(picture, model, signal) {
  try {
    picture.answers[model] = await predict(model, picture.file, state.facts.limit, signal);
  } catch (error) {
    if (signal.aborted) return;
    picture.answers[model] = told(error);
  }
  if (picture === state.shown) show();
  badge(picture);
}

function badge(picture) {
  const answer = picture.answers[state.model];
  const mine = picture.button.lastElementChild;
  const failed = answer instanceof Error;
  mine.className = failed ? "failed" : "";
  mine.textContent = failed ? "!" : (answer?.found.filter((each) => each.conf >= state.threshold).length ?? "");
}

/** What the chosen model has said of the shown picture, or why none can say anything. */
function said() {
  return state.shown?.answers[state.model] ?? state.problem ?? undefined;
}

async function show() {
  const { shown: picture, model } = state;
  const answer = said();
  await picture.drawn;
  if (state.shown !== picture || state.model !== model || said() !== answer) return;
  const failed = answer instanceof Error;
  $("busy").hidden = answer !== undefined;
  if (failed) say(answer.title, answer.message, answer.passes);
  else $("error").hidden = true;
  const found = failed ? [] : (answer?.found ?? []);
  view.set(found, answer?.size);
  panel.set(found);
  panel.times(answer);
  filter();
}

/** Draw and list what the slider lets through. Nobody is asked again. */
function filter() {
  const { shown: picture, model, threshold } = state;
  const answer = said();
  view.threshold = threshold;
  view.draw();
  const shown = panel.filter(threshold);
  const [large, small] = $("summary").children;
  if (answer instanceof Error) [large.textContent, small.textContent] = ["No answer", answer.title];
  else if (!answer) [large.textContent, small.textContent] = ["…", `asking ${model || "the server"}`];
  else {
    large.textContent = count(answer.found, shown);
    small.textContent = `${picture.file.name}, by ${answer.model}`;
  }
  $("summary").dataset.state = answer ? "done" : "busy";
  clearTimeout(speaking); // a screen reader hears where the slider stops, and not each of its steps
  speaking = setTimeout(() => ($("spoken").textContent = `${large.textContent} ${small.textContent}`), 500);
  texts(answer);
}

/** JSON and command, where their tab is open: a thousand lines take longer than a frame. */
function texts(answer) {
  const { shown: picture, model, threshold, facts } = state;
  if (!picture) return;
  const found = answer instanceof Error ? [] : (answer?.found ?? []);
  if (!$("json").hidden) $("json").firstElementChild.textContent = json(found.filter((each) => each.conf >= threshold));
  if (!$("curl").hidden) $("curl").firstElementChild.textContent = curl(facts, model, picture.file.name, threshold, found);
}

/** passes: whether it may be gone when the server is asked again. */
function say(title, message, passes = false) {
  $("error").hidden = false;
  $("error-title").textContent = title;
  $("error-message").textContent = message;
  $("again").hidden = !passes;
}
$("again").addEventListener("click", askAll);

// The tabs: arrow keys go from one to the next, as lists of tabs are used by keyboard.
const tabs = [...document.querySelectorAll("[role=tab]")];
function open(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", `${chosen}`);
    each.tabIndex = chosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  $("copy").hidden = tab.id === "tab-list";
  texts(said());
}
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    next.focus();
    open(next);
  });
});
$("copy").addEventListener("click", async () => {
  const shown = document.querySelector("[role=tabpanel]:not([hidden]) pre");
  try {
    await navigator.clipboard.writeText(shown.textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(shown); // without HTTPS only the visitor can copy
    $("copy").textContent = "Selected";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});

$("threshold").min = LEAST;
let drawing = 0;
$("threshold").addEventListener("input", () => {
  state.threshold = Number($("threshold").value);
  $("threshold-value").textContent = state.threshold.toFixed(2);
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    filter();
  });
});
$("threshold").addEventListener("change", () => state.pictures.forEach(badge));
$("labels").addEventListener("change", () => {
  view.labels = $("labels").checked;
  view.draw();
});

function offer(names) {
  for (const name of names) {
    const label = document.createElement("label");
    const radio = document.createElement("input");
    const text = document.createElement("span");
    const known = KNOWN.find(([pattern]) => pattern.test(name))?.[1];
    radio.type = "radio";
    radio.name = "model";
    radio.value = name;
    radio.checked = name === state.model;
    text.textContent = known ?? name;
    if (known) text.append(" ", Object.assign(document.createElement("small"), { textContent: name }));
    label.append(radio, text);
    $("models").append(label);
    radio.addEventListener("change", () => {
      state.model = name;
      state.pictures.forEach(badge);
      show();
      askAll();
    });
  }
}

async function begin() {
  listen({
    file: $("file"), capture: $("capture"), camera: $("camera"), dialog: $("shooting"), video: $("video"), take, say,
  });
  meet();
  const sample = await fetch("sample.jpg");
  const file = new File([await sample.blob()], "sample.jpg", { type: "image/jpeg" });
  if (!state.pictures.length) take([file]);
}

begin();
