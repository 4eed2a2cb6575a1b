// A search that stopped at its bound goes on by itself, one cheap request after the other, until a page of jobs is
// found, all have been searched, or a person stops it. Without scripts the link leads on.
(() => {
  const PAGE = 50;
  let goal = PAGE, isStopped = false, flying = null;
  const link = () => document.querySelector("#search-on");
  const rows = () => [...document.querySelectorAll("#live tbody tr[id]")];

  function step() {
    const goesOn = !!link() && !isStopped && rows().length < goal;
    document.documentElement.toggleAttribute("data-searching", goesOn);
    if (goesOn) htmx.trigger(link(), "search");
  }
  /** What an index found at first may be found again on the way. */
  function dropTwins() {
    const seen = new Set();
    for (const row of rows()) { if (seen.has(row.id)) row.remove(); seen.add(row.id); }
  }
  function stop() {
    isStopped = true;
    step();
  }

  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    const source = ctx.sourceElement;
    if (source?.id === "search-on") { flying = ctx; return; }
    // Another list: whatever was being searched for no longer matters.
    if (source?.closest?.("#filter")) { flying = null; isStopped = false; goal = PAGE; }
  });
  document.addEventListener("htmx:after:swap", dropTwins);
  document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
    if (ctx !== flying) return;
    flying = null;
    // Not yet: htmx still counts this request as running. A failed step is not tried again by itself.
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
  // Once htmx knows the link: after its own start, and after each swap.
  document.addEventListener("htmx:after:process", () => { setTimeout(() => { if (!flying) step(); }); });
})();
