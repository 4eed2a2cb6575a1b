// On small screens, scrolls the current entry of the navigation and of the tabs into view.
(() => {
  function scrollIntoView() {
    for (const row of document.querySelectorAll(".nav-links, .tabs")) {
      const current = row.querySelector("[aria-current]");
      if (!current || row.scrollWidth <= row.clientWidth) continue;
      const { left, width } = current.getBoundingClientRect(), box = row.getBoundingClientRect();
      row.scrollLeft += left - box.left - (box.width - width) / 2;
    }
  }
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => { if (ctx?.sourceElement?.id === "filter") scrollIntoView(); });
  scrollIntoView();
})();
