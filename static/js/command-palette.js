// The command palette (Ctrl-K): goes to a page or to a job by its id, or searches jobs.
(() => {
  const $ = (selector) => document.querySelector(selector);
  // Eight hex digits or more: the start or the end of an id, or all of it.
  const ID = /^[0-9a-f]{8}[0-9a-f-]*$/i;
  const typed = () => $("#palette-q").value.trim();
  const shown = () => [...document.querySelectorAll("#palette-list li:not([hidden]) a")];

  function filter() {
    const words = typed(), lower = words.toLowerCase();
    for (const item of document.querySelectorAll("#palette-list .place")) item.hidden = !item.textContent.toLowerCase().includes(lower);
    for (const [id, isShown] of [["palette-job", ID.test(words)], ["palette-search", !!words]]) {
      const item = document.getElementById(id), link = item.querySelector("a");
      item.hidden = !isShown;
      link.href = `${item.dataset.url}${encodeURIComponent(words)}`;
      link.querySelector("bdi").textContent = words;
    }
    mark(0);
  }
  // Focus stays in the field; Enter opens the marked link.
  function mark(index) {
    const links = shown(), at = Math.max(0, Math.min(index, links.length - 1));
    for (const link of document.querySelectorAll("#palette-list a")) link.setAttribute("aria-selected", link === links[at]);
    links[at]?.scrollIntoView({ block: "nearest" });
    $("#palette-q").setAttribute("aria-activedescendant", links[at]?.id || "");
  }
  const marked = () => shown().findIndex((link) => link.ariaSelected === "true");

  document.addEventListener("input", ({ target }) => { if (target.id === "palette-q") filter(); });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      const dialog = $("#palette");
      if ($("dialog[open]")) return;
      dialog.showModal();
      $("#palette-q").value = "";
      $("#palette-q").focus();
      filter();
      return;
    }
    if (!event.target.closest?.("#palette")) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); mark(marked() + step); }
    if (event.key === "Enter" && event.target.id === "palette-q") {
      event.preventDefault();
      shown()[marked()]?.click();
    }
  });
})();
