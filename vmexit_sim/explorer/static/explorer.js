// What the page does: reads the controls as a query, asks for its answer, shows it, and asks for the
// whole answer where the first one was made of some replications. One question is under way at a
// time; of those that come up meanwhile only the last is asked, so answers come in order and are
// dropped before they are made, not after.
"use strict";

const PAUSE = 15; // ms: a burst of events is one question
const byId = (id) => document.getElementById(id);
const form = byId("state");
const regions = ["verdict", "controls", "results"].map(byId);

let timer = 0; // of the pause
let asked = null; // what is under way: {query, controls}
let next = null; // what is to be asked after it
let refining = null; // aborts the wait for a whole answer
let isAnother = false; // another guest was picked, and its controls are not here yet

const sliders = () => [...form.querySelectorAll("input[type=range]")];

function policies() {
  const checked = [...form.querySelectorAll("input[name=policy]:checked")].map((box) => box.value);
  const first = byId("first").value;
  return checked.includes(first) ? [first, ...checked.filter((name) => name !== first)] : checked;
}

// The controls as a query; of another guest only what all guests have.
function query() {
  const found = new URLSearchParams({ guest: byId("guest").value, platform: byId("platform").value });
  if (!isAnother) policies().forEach((name) => found.append("policy", name));
  for (const slider of sliders()) {
    const { key, value, shared } = slider.dataset;
    if (value && (shared || !isAnother)) found.append(key, value);
  }
  const seed = byId("seed");
  if (seed.value !== seed.dataset.usual) found.append("seed", seed.value);
  return found.toString();
}

function show(slider) {
  const { value, stops, texts, homeText } = slider.dataset;
  const place = stops.split(" ").indexOf(value);
  const text = value ? texts.split("|")[place] : homeText;
  slider.parentElement.classList.toggle("moved", value !== "");
  slider.parentElement.querySelector("output").textContent = text;
  slider.setAttribute("aria-valuetext", text);
}

// Regions are replaced whole; what a person opened, scrolled and focused in them stays.
function replace(html) {
  const focused = document.activeElement?.id;
  const open = new Map([...document.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
  const scrolled = new Map([...document.querySelectorAll(".scroll, .policies")].map((each) => [each.id, [each.scrollLeft, each.scrollTop]]));
  for (const region of regions) {
    if (html[region.id] !== undefined) region.innerHTML = html[region.id];
  }
  open.forEach((value, id) => { if (byId(id)) byId(id).open = value; });
  scrolled.forEach(([left, top], id) => { const each = id && byId(id); if (each) { each.scrollLeft = left; each.scrollTop = top; } });
  if (focused && document.activeElement?.id !== focused) byId(focused)?.focus({ preventScroll: true });
}

// Which sliders move nothing, since no policy's accesses pass what they change.
function mark(idle) {
  for (const slider of sliders()) {
    slider.parentElement.querySelector(".idle").hidden = !idle.includes(slider.dataset.key);
  }
}

function shown(answer) {
  replace(answer.html);
  mark(answer.idle);
  const verdict = byId("verdict");
  verdict.dataset.query = answer.query;
  verdict.dataset.whole = answer.whole ? "yes" : "no";
  byId("download").href = `/scenario.toml?${answer.query}`;
  history.replaceState(null, "", `/?${answer.query}`);
}

async function get(path, signal) {
  const response = await fetch(path, { signal, headers: { Accept: "application/json" } });
  return response.json();
}

function failed(error) {
  byId("told").textContent = `The server does not answer (${error.message}). Is it still running?`;
}

async function ask() {
  if (asked || !next) return;
  refining?.abort();
  asked = next;
  next = null;
  document.body.classList.add("busy");
  try {
    const answer = await get(`/answer?${asked.controls ? "controls=1&" : ""}${asked.query}`);
    byId("told").textContent = "";
    if (next && asked.controls) { // somebody went on moving: their controls stay until the last answer
      delete answer.html.controls;
      next.controls = true;
    }
    if (answer.html.controls !== undefined) isAnother = false;
    shown(answer);
    if (!next && !answer.whole) refine(answer.query);
  } catch (error) {
    failed(error);
  } finally {
    asked = null;
    document.body.classList.remove("busy");
  }
  ask();
}

async function refine(wanted) {
  refining = new AbortController();
  try {
    const answer = await get(`/whole?${wanted}`, refining.signal);
    if (!asked && !next && answer.query === byId("verdict").dataset.query) shown(answer);
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  }
}

function want(withControls = false) {
  next = { query: query(), controls: withControls || Boolean(next?.controls) };
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
}

form.addEventListener("submit", (event) => event.preventDefault());

form.addEventListener("input", ({ target }) => {
  if (target.type !== "range") return;
  target.dataset.value = target.dataset.stops.split(" ")[target.valueAsNumber];
  show(target);
  want();
});

form.addEventListener("change", ({ target }) => {
  if (target.id === "guest") {
    isAnother = true;
    want(true);
  } else if (target.name === "policy" && !policies().length) {
    target.checked = true;
    byId("told").textContent = "One policy at least is compared.";
  } else if (["platform", "first", "seed"].includes(target.id) || target.name === "policy") want(true);
});

byId("download").addEventListener("click", () => {
  byId("told").textContent = "vmexit-sim compare explored.toml says the same.";
});

function putBack(slider) {
  slider.dataset.value = "";
  slider.value = slider.dataset.home;
  show(slider);
}

form.addEventListener("click", ({ target }) => {
  if (!target.classList.contains("back")) return;
  const slider = target.closest(".slider").querySelector("input");
  putBack(slider);
  slider.focus();
  want();
});

byId("reset").addEventListener("click", () => {
  sliders().forEach(putBack);
  want();
});

byId("copy").addEventListener("click", async () => {
  const link = `${location.origin}/?${byId("verdict").dataset.query}`;
  try {
    await navigator.clipboard.writeText(link);
    byId("told").textContent = "Link copied.";
  } catch { // a browser may refuse the clipboard
    byId("told").textContent = link;
  }
});

mark((byId("verdict").dataset.idle).split(" "));
if (byId("verdict").dataset.whole === "no") refine(byId("verdict").dataset.query);
