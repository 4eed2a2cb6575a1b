// Selects rows: Shift-click selects a range, the checkbox in the header selects the page.
(() => {
  let last = null;
  const boxes = () => [...document.querySelectorAll("#live [name=ids]")];
  const setAll = (list, on) => list.forEach((box) => { box.checked = on; });

  function update() {
    const all = boxes(), n = all.filter((box) => box.checked).length, pageBox = document.querySelector("#pick-all");
    const picked = document.querySelector("#picked");
    if (!picked) return;
    const text = `${n} selected`;
    if (picked.textContent !== text) picked.textContent = text;
    updateVerbs(all.filter((box) => box.checked));
    offerAll(n > 0 && n === all.length);
    if (pageBox) { pageBox.checked = n > 0 && n === all.length; pageBox.indeterminate = n > 0 && n < all.length; }
  }
  // Don't touch the DOM when nothing changed.
  const hide = (element, isHidden) => { if (element.hidden !== isHidden) element.hidden = isHidden; };
  // Shows only verbs that apply to at least one selected row, and puts the count into the deletion dialog.
  function updateVerbs(chosen) {
    const fits = new Set(chosen.flatMap((box) => box.dataset.verbs.split(" ")));
    const jobs = chosen.length === 1 ? "1 job" : `${chosen.length} jobs`;
    for (const button of document.querySelectorAll("#selected [name=verb]")) {
      hide(button, chosen.length > 0 && !fits.has(button.value));
      if (!button.dataset.confirmSome || !chosen.length) continue;
      button.setAttribute("hx-confirm", button.dataset.confirmSome.replace("{jobs}", jobs));
      button.dataset.yes = `Delete ${jobs}`;
    }
    hide(document.querySelector("#selected-change"), chosen.length > 0 && !fits.has("edit"));
  }
  // With the whole page selected, leads to the page for all matching jobs.
  function offerAll(isWhole) {
    const link = document.querySelector("#picked-all"), target = document.querySelector("#bulk-all");
    hide(link, !isWhole || !target);
    if (target && link.href !== target.href) link.href = target.href;
  }
  function clear() {
    setAll(boxes(), false);
    last = null;
    update();
    document.dispatchEvent(new CustomEvent("refresh"));
  }

  document.addEventListener("click", (event) => {
    const box = event.target;
    if (box.id === "pick-all") setAll(boxes(), box.checked);
    if (box.name !== "ids") return;
    const all = boxes(), from = all.indexOf(last), to = all.indexOf(box);
    if (event.shiftKey && from >= 0) setAll(all.slice(Math.min(from, to), Math.max(from, to) + 1), box.checked);
    last = box;
  });
  document.addEventListener("change", (event) => { if (event.target.matches("[name=ids], #pick-all")) update(); });
  document.addEventListener("reset", (event) => { if (event.target.id === "selected") setTimeout(clear); });
  // Shift-click selects rows, not the text between them.
  document.addEventListener("mousedown", (event) => { if (event.shiftKey && event.target.closest(".pick")) event.preventDefault(); });
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (ctx.sourceElement?.form?.id === "selected" && ctx.response?.status === 200) document.querySelector("#selected").reset();
  });
  document.addEventListener("htmx:after:swap", update);
  update();
})();
