// Pausing the refresh, and how often it happens. The interval is remembered for good, the pause for this tab.
(() => {
  const again = () => document.dispatchEvent(new CustomEvent("refresh"));
  const isPaused = () => document.querySelector("#pause").getAttribute("aria-pressed") === "true";
  const keep = (store, name, value) => { try { store.setItem(name, value); } catch { /* private mode */ } };
  const kept = (store, name) => { try { return store.getItem(name) || ""; } catch { return ""; } };

  function pause(willPause) {
    const button = document.querySelector("#pause");
    button.setAttribute("aria-pressed", willPause);
    button.title = willPause ? "Resume refresh" : "Pause refresh";
    document.documentElement.toggleAttribute("data-paused", willPause);
  }
  document.addEventListener("click", ({ target }) => {
    if (!target.closest("#pause")) return;
    const willPause = !isPaused();
    pause(willPause);
    keep(sessionStorage, "paused", willPause ? "yes" : "");
    if (!willPause) again();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.id !== "interval") return;
    keep(localStorage, "interval", target.value);
    if (!isPaused()) again();
  });

  const interval = document.querySelector("#interval");
  interval.value = kept(localStorage, "interval");
  if (interval.selectedIndex < 0) interval.value = "";
  if (kept(sessionStorage, "paused")) pause(true);
})();
