// The refresh interval and the pause button. The interval is stored for this browser, the pause for this tab.
(() => {
  const refresh = () => document.dispatchEvent(new CustomEvent("refresh"));
  const isPaused = () => document.querySelector("#pause").getAttribute("aria-pressed") === "true";
  const save = (store, name, value) => { try { store.setItem(name, value); } catch { /* private mode */ } };
  const load = (store, name) => { try { return store.getItem(name) || ""; } catch { return ""; } };

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
    save(sessionStorage, "paused", willPause ? "yes" : "");
    if (!willPause) refresh();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.id !== "interval") return;
    save(localStorage, "interval", target.value);
    if (!isPaused()) refresh();
  });

  const interval = document.querySelector("#interval");
  interval.value = load(localStorage, "interval");
  if (interval.selectedIndex < 0) interval.value = "";
  if (load(sessionStorage, "paused")) pause(true);
})();
