// Continues a search that reached its time limit, one short request after another, until a page of jobs is found, all
// jobs have been searched, or the user stops it. Without scripts the user follows the link.
(() => {
  const PAGE = 50;
  let goal = PAGE, isStopped = false, current = null;
  const link = () => document.querySelector("#search-on");
  const rows = () => [...document.querySelectorAll("#live tbody tr[id]")];

  /** Shows Stop while the search continues, else the link to search older jobs; returns whether it continues. */
  function showState() {
    const continues = !!link() && !isStopped && rows().length < goal;
    document.documentElement.toggleAttribute("data-searching", continues);
    return continues;
  }
  function step() {
    if (showState()) htmx.trigger(link(), "search");
  }
  /** Jobs found first by an index can be found again by a later step. */
  function removeDuplicates() {
    const seen = new Set();
    for (const row of rows()) { if (seen.has(row.id)) row.remove(); seen.add(row.id); }
  }
  function stop() {
    isStopped = true;
    step();
  }

  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    const source = ctx.sourceElement;
    if (source?.id === "search-on") { current = ctx; return; }
    // The filter changed: the search in progress no longer matters.
    if (source?.closest?.("#filter")) { current = null; isStopped = false; goal = PAGE; }
  });
  document.addEventListener("htmx:after:swap", removeDuplicates);
  document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
    if (ctx !== current) return;
    current = null;
    // Deferred, because htmx still counts this request as running. A failed step is not retried automatically.
    if (ctx.response?.status === 200) setTimeout(step);
    else stop();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#search-stop")) { stop(); link()?.focus(); return; }
    if (!event.target.closest("#search-on") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    isStopped = false;
    goal = rows().length + PAGE;
    step();
  });
  // htmx processes the link at startup and after each swap.
  document.addEventListener("htmx:after:process", () => { showState(); setTimeout(() => { if (!current) step(); }); });
  showState();
})();
