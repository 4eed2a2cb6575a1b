// When the focused row or button is removed, focus moves to the element that took its place, not to the top of the page.
(() => {
  let candidates = null;
  const inBar = (el) => el?.closest?.("#selected");
  const rowOf = (el) => el?.closest?.("#live [id]:is(tr, article, li)");
  const checked = () => [...document.querySelectorAll("#live [name=ids]:checked")].map(rowOf);

  /** The row, then the rows after it, then the rows before it, nearest first. */
  function nearestRows(row) {
    const all = row ? [...row.parentElement.children] : [], at = all.indexOf(row);
    return [...all.slice(at), ...all.slice(0, Math.max(at, 0)).reverse()];
  }
  function focusFirst(rows) {
    const row = rows.find((el) => el.isConnected);
    const next = row?.querySelector(".actions button, a") || document.querySelector(".head-actions button")
      || document.querySelector("#main");
    next?.focus({ preventScroll: true });
  }

  // The selection bar disappears with the selection, before the response is in the page.
  document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
    if (inBar(ctx.sourceElement)) candidates = nearestRows(checked().at(-1));
  });
  document.addEventListener("htmx:before:swap", () => {
    const active = document.activeElement;
    if (active?.closest?.("#live")) candidates = nearestRows(rowOf(active));
  });
  document.addEventListener("htmx:after:swap", () => {
    const active = document.activeElement, rows = candidates;
    candidates = null;
    if (rows && (active === document.body || inBar(active) && !checked().length)) focusFirst(rows);
  });
  document.addEventListener("reset", ({ target }) => {
    if (target.id !== "selected") return;
    const rows = nearestRows(checked().at(-1));
    setTimeout(() => { if (document.activeElement === document.body || inBar(document.activeElement)) focusFirst(rows); });
  });
})();
