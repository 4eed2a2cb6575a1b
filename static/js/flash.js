// Success messages disappear after a few seconds; error messages stay until dismissed.
(() => {
  const SECONDS = 6;
  function removeLater(line) {
    if (line.matches(":hover, :focus-within")) setTimeout(removeLater, 1000, line);
    else line.remove();
  }
  function schedule() {
    document.querySelectorAll("#flash .is-done:not([data-leaving])").forEach((line) => {
      line.dataset.leaving = "";
      setTimeout(removeLater, SECONDS * 1000, line);
    });
  }
  document.addEventListener("htmx:after:swap", schedule);
  document.addEventListener("click", (event) => {
    const line = event.target.closest("[data-dismiss]")?.closest(".flash-line");
    if (!line) return;
    const next = line.nextElementSibling?.querySelector("[data-dismiss]") || document.querySelector("#main");
    line.remove();
    next.focus({ preventScroll: true });
  });
  schedule();
})();
