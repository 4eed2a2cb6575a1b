// Clicking a row opens its job, unless the click was on a control in the row or ended a text selection.
(() => {
  function target(event) {
    const row = event.target.closest?.("tr[data-row]");
    const isOwn = event.target.closest?.("a, button, input, label, select, summary, details");
    return row && !isOwn && getSelection().type !== "Range" ? row.querySelector("a[href]")?.href : null;
  }
  document.addEventListener("click", (event) => {
    const href = target(event);
    if (!href || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey) window.open(href, "_blank", "noopener");
    else location.assign(href);
  });
  // A truncated error line shows its full text as a tooltip.
  document.addEventListener("mouseover", ({ target }) => {
    const line = target.closest?.(".error-line");
    if (line && !line.title && line.scrollWidth > line.clientWidth) line.title = line.textContent;
  });
  document.addEventListener("auxclick", (event) => {
    const href = event.button === 1 && target(event);
    if (href) window.open(href, "_blank", "noopener");
  });
})();
