// Decides when rows must not refresh. live-regions.js dispatches a cancelable "before-refresh" event before each
// refresh; its detail is the id of the region. Counts and health keep refreshing while the rows are held.
(() => {
  const STILL = 24;  // pixels: a hand that rests on the mouse moves it a little
  let moved = 0, acted = 0, at = [0, 0], actedAt = [0, 0], isWaiting = false;
  const live = () => document.querySelector("#live");
  const paused = () => document.querySelector("#pause")?.getAttribute("aria-pressed") === "true";
  const selecting = () => getSelection().type === "Range" && live()?.contains(getSelection().anchorNode);
  // A row must not move away under a pointer that is about to click its button. A pointer that has just clicked and
  // not moved since is waiting for the result.
  const aiming = () => Date.now() - moved < 8000 && moved > acted && document.querySelector("[data-live] .actions:hover");
  const deciding = () => document.querySelector("dialog[open], [data-live] [name=ids]:checked");
  // The results of a search come in several steps; a refresh would show only the first.
  const searched = () => document.querySelector("#search");
  const holdsRows = () => isWaiting || aiming() || deciding() || searched();

  function showNotice(text) {
    const notice = document.querySelector("#refresh-held");
    if (notice.textContent !== text) notice.textContent = text;
  }
  document.addEventListener("before-refresh", (event) => {
    const isRows = event.detail !== "pulse";
    if (isRows) {
      isWaiting = selecting();
      showNotice(isWaiting ? "Updates paused" : "");
    }
    if (document.hidden || paused() || isRows && holdsRows()) event.preventDefault();
  });
  document.addEventListener("selectionchange", () => {
    if (!isWaiting || selecting()) return;
    isWaiting = false;
    showNotice("");
    document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused() && !selecting() && !searched()) document.dispatchEvent(new CustomEvent("refresh"));
  });
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    if (!ctx?.sourceElement?.matches?.("[data-live]")) [acted, actedAt] = [Date.now(), at];
  });
  document.addEventListener("pointermove", ({ clientX, clientY }) => {
    at = [clientX, clientY];
    if (Math.hypot(at[0] - actedAt[0], at[1] - actedAt[1]) > STILL) [moved, actedAt] = [Date.now(), [-STILL, -STILL]];
  });
})();
