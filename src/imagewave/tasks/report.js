"use strict";
const form = document.getElementById("filters");
const cards = [...document.querySelectorAll(".card")].map((element) => ({
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
  for (const card of cards) {
    card.element.hidden = !fits(card, want);
    shown += !card.element.hidden;
  }
  document.getElementById("count").value = `${shown} of ${cards.length}`;
  document.getElementById("none").hidden = shown > 0;
}

form.addEventListener("input", filter);
// Not every way to choose an option (assistive tools, drivers) sends "input".
form.addEventListener("change", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
filter();

const box = document.getElementById("box");
const picture = document.getElementById("box-image");
const draft = document.getElementById("box-draft");
const details = document.getElementById("box-details");
let current = null;

function show(card) {
  current = card;
  const thumbnail = card.querySelector("img");
  picture.hidden = !thumbnail;
  picture.src = thumbnail ? thumbnail.src : "";
  picture.alt = `${card.dataset.verdict} picture of ${card.dataset.brief}`;
  const origin = card.dataset.draft && cards.find((other) => other.element.dataset.image === card.dataset.draft);
  const carried = origin && origin.element !== card && origin.element.querySelector("img");
  draft.hidden = !carried;
  draft.querySelector("img").src = carried ? carried.src : "";
  details.replaceChildren(card.querySelector("template").content.cloneNode(true));
  details.scrollTop = 0;
  if (!box.open) box.showModal();
}

function step(by) {
  const visible = cards.map((card) => card.element).filter((element) => !element.hidden);
  const next = visible[visible.indexOf(current) + by];
  if (next) show(next);
}

document.getElementById("cards").addEventListener("click", (event) => {
  const button = event.target.closest(".open");
  if (button) show(button.closest(".card"));
});
document.getElementById("box-back").addEventListener("click", () => step(-1));
document.getElementById("box-next").addEventListener("click", () => step(1));
document.getElementById("box-close").addEventListener("click", () => box.close());
box.addEventListener("click", (event) => event.target === box && box.close());
box.addEventListener("close", () => current.querySelector(".open").focus());
document.addEventListener("keydown", (event) => {
  if (box.open && event.key === "ArrowLeft") step(-1);
  else if (box.open && event.key === "ArrowRight") step(1);
  else if (!box.open && event.key === "/" && !event.target.matches("input, select")) {
    event.preventDefault();
    form.elements.text.focus();
  }
});
