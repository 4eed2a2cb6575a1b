// When the focused row or button goes away, focus goes to what took its place instead of the page's top.
(() => {
  let spot = null;
  const inBar = (el) => el?.closest?.("#selected");
  const rowOf = (el) => el?.closest?.("#live [id]:is(tr, article, li)");
  const checked = () => [...document.querySelectorAll("#live [name=ids]:checked")].map(rowOf);

  /** The row itself, then what follows it, then what comes before, nearest first. */
  function around(row) {
    const all = row ? [...row.parentElement.children] : [], at = all.indexOf(row);
    return [...all.slice(at), ...all.slice(0, Math.max(at, 0)).reverse()];
  }
  function land(rows) {
    const row = rows.find((el) => el.isConnected);
    const next = row?.querySelector(".actions button, a") || document.querySelector(".head-actions button")
      || document.querySelector("#main");
    next?.focus({ preventScroll: true });
  }

  // The bar of selected rows disappears with the selection, before the answer is in the page.
  document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
    if (inBar(ctx.sourceElement)) spot = around(checked().at(-1));
  });
  document.addEventListener("htmx:before:swap", () => {
    const active = document.activeElement;
    if (active?.closest?.("#live")) spot = around(rowOf(active));
  });
  document.addEventListener("htmx:after:swap", () => {
    const active = document.activeElement, rows = spot;
    spot = null;
    if (rows && (active === document.body || inBar(active) && !checked().length)) land(rows);
  });
  document.addEventListener("reset", ({ target }) => {
    if (target.id !== "selected") return;
    const rows = around(checked().at(-1));
    setTimeout(() => { if (document.activeElement === document.body || inBar(document.activeElement)) land(rows); });
  });
})();
