// Work without a mouse: g + letter goes places, / searches, j and k walk the rows, r retries, ? tells, Ctrl-K asks.
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  let wasG = 0;
  const rows = () => [...document.querySelectorAll("#live tr[data-row]")];
  const rowOf = (element) => element?.closest?.("#live tr[data-row]");

  function walk(step) {
    const all = rows(), at = all.indexOf(rowOf(document.activeElement));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
    const link = next && $("a[href]", next);
    link?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
  }
  function open(dialog) {
    if (!dialog || dialog.open) return;
    dialog.showModal();
    const input = $("input", dialog);
    if (input) { input.value = ""; filter(); input.focus(); }
  }
  function filter() {
    const words = $("#palette-q").value.trim().toLowerCase();
    const items = [...document.querySelectorAll("#palette-list li")];
    for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(words);
    const search = $("#palette-search");
    search.hidden = !words;
    $("a", search).href = `${search.dataset.url}?q=${encodeURIComponent($("#palette-q").value.trim())}`;
  }
  const shown = () => [...document.querySelectorAll("#palette-list li:not([hidden]) a")];

  document.addEventListener("input", (event) => { if (event.target.id === "palette-q") filter(); });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      return open($("#palette"));
    }
    const palette = event.target.closest?.("#palette");
    if (palette && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
      const links = shown(), at = links.indexOf(document.activeElement);
      if (event.key === "Enter") { if (at < 0) { event.preventDefault(); links[0]?.click(); } return; }
      event.preventDefault();
      const to = at + (event.key === "ArrowDown" ? 1 : -1);
      return to < 0 ? $("#palette-q").focus() : links[Math.min(to, links.length - 1)]?.focus();
    }
    const typing = event.target.closest?.("input, textarea, select, [contenteditable], dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    const key = event.key;
    if (Date.now() - wasG < 1200) {
      wasG = 0;
      const link = $(`#palette-list a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); location.assign(link.href); }
      return;
    }
    if (key === "g") wasG = Date.now();
    else if (key === "/") { event.preventDefault(); $("#q")?.focus(); $("#q")?.select(); }
    else if (key === "j" || key === "k") { event.preventDefault(); walk(key === "j" ? 1 : -1); }
    else if (key === "r") $('button[formaction$="/retry"]', rowOf(document.activeElement) || $(".head-actions") || document.createElement("i"))?.click();
    else if (key === "x") $("[name=ids]", rowOf(document.activeElement) || document.createElement("i"))?.click();
    else if (key === "?") { event.preventDefault(); open($("#keys")); }
  });
})();
