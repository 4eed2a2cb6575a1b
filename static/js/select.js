// Selected rows: shift-click takes all between, the box in the head takes the page; the count says how many.
(() => {
  let last = null;
  const boxes = () => [...document.querySelectorAll("#live [name=ids]")];
  const take = (list, on) => list.forEach((box) => { box.checked = on; });

  function tell() {
    const all = boxes(), n = all.filter((box) => box.checked).length, whole = document.querySelector("#pick-all");
    const picked = document.querySelector("#picked");
    if (!picked) return;
    const text = `${n} selected`;
    if (picked.textContent !== text) picked.textContent = text;
    offer(all.filter((box) => box.checked));
    if (whole) { whole.checked = n > 0 && n === all.length; whole.indeterminate = n > 0 && n < all.length; }
  }
  // A refresh that changed nothing must touch nothing.
  const hide = (element, isHidden) => { if (element.hidden !== isHidden) element.hidden = isHidden; };
  // Only verbs that fit at least one selected row; the question of a deletion names the count.
  function offer(chosen) {
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
  function none() {
    take(boxes(), false);
    last = null;
    tell();
    document.dispatchEvent(new CustomEvent("refresh"));
  }

  document.addEventListener("click", (event) => {
    const box = event.target;
    if (box.id === "pick-all") take(boxes(), box.checked);
    if (box.name !== "ids") return;
    const all = boxes(), from = all.indexOf(last), to = all.indexOf(box);
    if (event.shiftKey && from >= 0) take(all.slice(Math.min(from, to), Math.max(from, to) + 1), box.checked);
    last = box;
  });
  document.addEventListener("change", (event) => { if (event.target.matches("[name=ids], #pick-all")) tell(); });
  document.addEventListener("reset", (event) => { if (event.target.id === "selected") setTimeout(none); });
  // Shift-click selects rows, not the text between them.
  document.addEventListener("mousedown", (event) => { if (event.shiftKey && event.target.closest(".pick")) event.preventDefault(); });
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (ctx.sourceElement?.form?.id === "selected" && ctx.response?.status === 200) document.querySelector("#selected").reset();
  });
  document.addEventListener("htmx:after:swap", tell);
  tell();
})();
