// Pausing the refresh, and how often it happens; the choice is remembered, the pause is not.
(() => {
  const pause = document.querySelector("#pause");
  const interval = document.querySelector("#interval");
  if (!pause || !interval) return;
  const again = () => document.dispatchEvent(new CustomEvent("refresh"));
  const remember = (value) => { try { localStorage.setItem("interval", value); } catch { /* private mode */ } };
  try { interval.value = localStorage.getItem("interval") || ""; } catch { /* private mode */ }
  if (interval.selectedIndex < 0) interval.value = "";

  pause.addEventListener("click", () => {
    const isPaused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", isPaused);
    pause.title = isPaused ? "Resume refresh" : "Pause refresh";
    document.documentElement.toggleAttribute("data-paused", isPaused);
    if (!isPaused) again();
  });
  interval.addEventListener("change", () => { remember(interval.value); if (pause.ariaPressed !== "true") again(); });
})();
