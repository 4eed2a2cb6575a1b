// When rows must not refresh under a person. live.js asks with a "look" event before each look; its detail names
// the region. Counts and the health word stay live, whatever is being decided about the rows.
(() => {
  let moved = 0, acted = 0, isWaiting = false;
  const live = () => document.querySelector("#live");
  const paused = () => document.querySelector("#pause")?.getAttribute("aria-pressed") === "true";
  const selecting = () => getSelection().type === "Range" && live()?.contains(getSelection().anchorNode);
  // A row must not slide away under a pointer that is about to press its button. One that has just pressed it and
  // rests there waits for the result.
  const aiming = () => Date.now() - moved < 8000 && moved > acted && document.querySelector("[data-live] .actions:hover");
  const deciding = () => document.querySelector("dialog[open], [data-live] [name=ids]:checked");
  // Found step by step: one look would show the first step alone.
  const searched = () => document.querySelector("#search");
  const holdsRows = () => isWaiting || aiming() || deciding() || searched();

  function say(text) {
    const held = document.querySelector("#held");
    if (held.textContent !== text) held.textContent = text;
  }
  document.addEventListener("look", (event) => {
    const isRows = event.detail !== "pulse";
    if (isRows) {
      isWaiting = selecting();
      say(isWaiting ? "Updates paused" : "");
    }
    if (document.hidden || paused() || isRows && holdsRows()) event.preventDefault();
  });
  document.addEventListener("selectionchange", () => {
    if (!isWaiting || selecting()) return;
    isWaiting = false;
    say("");
    document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused() && !selecting() && !searched()) document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    if (!ctx?.sourceElement?.matches?.("[data-live]")) acted = Date.now();
  });
  document.addEventListener("pointermove", () => { moved = Date.now(); });
})();
