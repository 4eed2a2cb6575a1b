// On small screens the current entry of a row that scrolls is brought into view.
(() => {
  function show() {
    for (const row of document.querySelectorAll(".nav-links, .tabs")) {
      const here = row.querySelector("[aria-current]");
      if (!here || row.scrollWidth <= row.clientWidth) continue;
      const { left, width } = here.getBoundingClientRect(), box = row.getBoundingClientRect();
      row.scrollLeft += left - box.left - (box.width - width) / 2;
    }
  }
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => { if (ctx?.sourceElement?.id === "filter") show(); });
  show();
})();
