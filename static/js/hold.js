// When a page must not refresh under a person. live.js asks with a "look" event before each look.
(() => {
  let moved = 0, isWaiting = false;
  const live = () => document.querySelector("#live");
  const paused = () => document.querySelector("#pause")?.getAttribute("aria-pressed") === "true";
  const selecting = () => getSelection().type === "Range" && live()?.contains(getSelection().anchorNode);
  // A row must not slide away under a pointer that is about to press its button.
  const aiming = () => Date.now() - moved < 8000 && document.querySelector("[data-live] .actions:hover");
  const deciding = () => document.querySelector("dialog[open], [data-live] [name=ids]:checked");

  document.addEventListener("look", (event) => {
    isWaiting = selecting();
    if (isWaiting) document.querySelector("#stale").textContent = "Waiting while you select";
    if (document.hidden || paused() || isWaiting || aiming() || deciding()) event.preventDefault();
  });
  document.addEventListener("selectionchange", () => {
    if (!isWaiting || selecting()) return;
    isWaiting = false;
    document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused() && !selecting()) document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("pointermove", () => { moved = Date.now(); });
})();
