// Good news leaves by itself; bad news stays until it is dismissed.
(() => {
  const SECONDS = 6;
  function leave(line) {
    if (line.matches(":hover, :focus-within")) setTimeout(leave, 1000, line);
    else line.remove();
  }
  function plan() {
    document.querySelectorAll("#flash .is-done:not([data-leaving])").forEach((line) => {
      line.dataset.leaving = "";
      setTimeout(leave, SECONDS * 1000, line);
    });
  }
  document.addEventListener("htmx:after:swap", plan);
  document.addEventListener("click", (event) => {
    const line = event.target.closest("[data-dismiss]")?.closest(".flash-line");
    if (!line) return;
    const next = line.nextElementSibling?.querySelector("[data-dismiss]") || document.querySelector("#main");
    line.remove();
    next.focus({ preventScroll: true });
  });
  plan();
})();
