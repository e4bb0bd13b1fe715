"use strict";
const form = document.getElementById("filters");
const grid = document.getElementById("cards");
const none = document.getElementById("none");
const cards = [...grid.querySelectorAll(".card")].map((element) => ({
  element,
  stages: element.dataset.stage.split(" "),
  verdict: element.dataset.verdict,
  brief: element.dataset.brief,
  reasons: JSON.parse(element.dataset.reasons),
  words: null,
}));

// The details are inert until they are shown, and are searched as well.
function words(card) {
  card.words ??= `${card.element.textContent} ${card.element.querySelector("template").content.textContent}`.toLowerCase();
  return card.words;
}

function fits(card, want) {
  return (
    (!want.stage || card.stages.includes(want.stage)) &&
    (!want.verdict || card.verdict === want.verdict) &&
    (!want.brief || card.brief === want.brief) &&
    (!want.reason || card.reasons.includes(want.reason)) &&
    want.text.every((word) => words(card).includes(word))
  );
}

function filter() {
  const fields = new FormData(form);
  const want = Object.fromEntries(["stage", "verdict", "brief", "reason"].map((name) => [name, fields.get(name)]));
  want.text = fields.get("text").toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const group of groups.values()) group.shown = 0;
  for (const card of cards) {
    card.element.hidden = !fits(card, want);
    if (card.element.hidden) continue;
    shown += 1;
    if (groups.size) groups.get(card.brief).shown += 1;
  }
  for (const group of groups.values()) {
    group.element.hidden = group.shown === 0;
    group.count.textContent = group.shown;
  }
  document.getElementById("count").value = `${shown} of ${cards.length}`;
  none.hidden = shown > 0;
}

// By brief: a group's heading and its grid; empty while all cards stand in one grid.
const groups = new Map();

function arrange() {
  const grouped = form.elements.grouped.checked;
  if (grouped === groups.size > 0) return;
  groups.clear();
  const page = document.createDocumentFragment();
  for (const card of cards) {
    if (!grouped) {
      page.append(card.element);
      continue;
    }
    if (!groups.has(card.brief)) groups.set(card.brief, group(card.brief));
    groups.get(card.brief).grid.append(card.element);
  }
  for (const { element } of groups.values()) page.append(element);
  grid.classList.toggle("grid", !grouped);
  grid.replaceChildren(page, none);
}

function group(brief) {
  const element = document.createElement("section");
  const title = document.createElement("h3");
  const count = document.createElement("small");
  const grid = document.createElement("div");
  element.className = "group";
  element.setAttribute("aria-label", brief);
  title.append(brief, " ", count);
  grid.className = "grid";
  element.append(title, grid);
  return { element, count, grid, shown: 0 };
}

function update() {
  grid.style.setProperty("--s", `${form.elements.size.value}rem`);
  arrange();
  filter();
}

form.addEventListener("input", update);
// Not every way to choose an option (assistive tools, drivers) sends "input".
form.addEventListener("change", update);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(update));
update();

// Where there is room, no filter is folded away.
const more = document.getElementById("more");
const wide = matchMedia("(min-width: 761px)");
const unfold = () => (more.open = wide.matches);
wide.addEventListener("change", unfold);
unfold();

const box = document.getElementById("box");
const stand = document.getElementById("box-shown");
const picture = document.getElementById("box-image");
const draft = document.getElementById("box-draft");
const details = document.getElementById("box-details");
const zoomer = document.getElementById("box-zoom");
let current = null;

function show(card) {
  zoom(false);
  current = card;
  const thumbnail = card.querySelector("img");
  picture.hidden = !thumbnail;
  picture.src = thumbnail ? thumbnail.src : "";
  picture.alt = `${card.dataset.verdict} picture of ${card.dataset.brief}`;
  zoomer.hidden = !thumbnail;
  const origin = card.dataset.draft && cards.find((other) => other.element.dataset.image === card.dataset.draft);
  const carried = origin && origin.element !== card && origin.element.querySelector("img");
  draft.hidden = !carried;
  draft.querySelector("img").src = carried ? carried.src : "";
  details.replaceChildren(card.querySelector("template").content.cloneNode(true));
  details.scrollTop = 0;
  if (box.open) return;
  box.showModal();
  document.getElementById("box-close").focus();
}

// The picture at its own size: the file beside this report, or the thumbnail where that is not there.
function zoom(on) {
  if (on && !picture.hidden) {
    const link = details.querySelector(".links a");
    if (link) {
      picture.onerror = () => {
        picture.onerror = null;
        picture.src = current.querySelector("img").src;
      };
      picture.src = link.href;
    }
    stand.focus();
  }
  box.classList.toggle("zoomed", on);
  zoomer.setAttribute("aria-pressed", on);
}

const zoomed = () => box.classList.contains("zoomed");

function step(by) {
  const visible = [...grid.querySelectorAll(".card:not([hidden])")];
  const next = visible[visible.indexOf(current) + by];
  if (next) show(next);
}

grid.addEventListener("click", (event) => {
  const button = event.target.closest(".open");
  if (button) show(button.closest(".card"));
});
document.getElementById("box-back").addEventListener("click", () => step(-1));
document.getElementById("box-next").addEventListener("click", () => step(1));
document.getElementById("box-close").addEventListener("click", () => box.close());
zoomer.addEventListener("click", () => zoom(!zoomed()));
picture.addEventListener("click", () => zoom(!zoomed()));
box.addEventListener("click", (event) => event.target === box && box.close());
// Escape leaves the zoom first, then the details.
box.addEventListener("cancel", (event) => {
  if (zoomed()) {
    event.preventDefault();
    zoom(false);
  }
});
box.addEventListener("close", () => {
  zoom(false);
  current.querySelector(".open").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (box.open && event.key === "z") zoom(!zoomed());
  // Arrows move about in a zoomed picture.
  else if (box.open && !zoomed() && event.key === "ArrowLeft") step(-1);
  else if (box.open && !zoomed() && event.key === "ArrowRight") step(1);
  else if (!box.open && event.key === "/" && !event.target.matches("input, select")) {
    event.preventDefault();
    more.open = true;
    form.elements.text.focus();
  }
});
