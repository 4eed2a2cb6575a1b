// Keyboard shortcuts. Verbs act on the selected rows if there are any, otherwise on the focused row or the page.
(() => {
  const $ = (selector, from = document) => from?.querySelector(selector);
  const VERBS = { r: "retry", c: "cancel", d: "discard" };
  let lastG = 0;
  const rows = () => [...document.querySelectorAll("#live tr[data-row]")];
  const rowOf = (element) => element?.closest?.("#live tr[data-row]");
  const hasSelection = () => !!$("#live [name=ids]:checked");

  function moveFocus(step) {
    const all = rows(), at = all.indexOf(rowOf(document.activeElement));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
    $("a[href]", next)?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
  }
  function act(verb) {
    if (hasSelection()) return $(`#selected [name=verb][value=${verb}]`)?.click();
    const row = rowOf(document.activeElement);
    // A row can stand for a whole group of jobs; its actions need a click.
    return row ? $(`button[formaction*="/jobs/"][formaction$="/${verb}"]`, row)?.click()
      : $(`.head-actions button[formaction$="/${verb}"]`)?.click();
  }
  function edit() {
    if (!hasSelection()) return;
    $("#selected-change").open = true;
    $("#selected-change input")?.focus();
  }
  const KEYS = {
    "/": () => { $("#q")?.focus(); $("#q")?.select(); },
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    x: () => $("[name=ids]", rowOf(document.activeElement))?.click(),
    a: () => $("#pick-all")?.click(),
    e: edit,
    b: () => hasSelection() && $("#selected [name=verb]")?.focus(),
    n: () => $("#page-older")?.click(),
    p: () => $("#page-newer")?.click(),
    Escape: () => hasSelection() && $("#pick-none")?.click(),
    "?": () => $("#keys").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const isTyping = target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (Date.now() - lastG < 1200) {
      lastG = 0;
      const link = $(`#palette-list a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); location.assign(link.href); }
      return;
    }
    if (key === "g") { lastG = Date.now(); return; }
    const run = VERBS[key] ? () => act(VERBS[key]) : Object.hasOwn(KEYS, key) && KEYS[key];
    if (!run) return;
    event.preventDefault();
    run();
  });
})();
