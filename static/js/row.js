// The whole row leads to its job, unless the click meant something in it or ended a selection.
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
  document.addEventListener("auxclick", (event) => {
    const href = event.button === 1 && target(event);
    if (href) window.open(href, "_blank", "noopener");
  });
})();
