// Pausing the refresh, and how often it happens; the choice is remembered, the pause is not.
(() => {
  const again = () => document.dispatchEvent(new CustomEvent("refresh"));
  const isPaused = () => document.querySelector("#pause").getAttribute("aria-pressed") === "true";

  document.addEventListener("click", ({ target }) => {
    const pause = target.closest("#pause");
    if (!pause) return;
    const willPause = !isPaused();
    pause.setAttribute("aria-pressed", willPause);
    pause.title = willPause ? "Resume refresh" : "Pause refresh";
    document.documentElement.toggleAttribute("data-paused", willPause);
    if (!willPause) again();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.id !== "interval") return;
    try { localStorage.setItem("interval", target.value); } catch { /* private mode */ }
    if (!isPaused()) again();
  });

  const interval = document.querySelector("#interval");
  try { interval.value = localStorage.getItem("interval") || ""; } catch { /* private mode */ }
  if (interval.selectedIndex < 0) interval.value = "";
})();
