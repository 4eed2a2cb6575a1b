// Menus are <details class="menu">. One is open at a time; choosing, Escape, or a click elsewhere closes it.
(() => {
  const open = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("toggle", ({ target }) => {
    if (target.matches?.("details.menu[open]")) open().forEach((menu) => { if (menu !== target) menu.open = false; });
  }, true);
  document.addEventListener("click", ({ target }) => {
    open().forEach((menu) => {
      if (target.closest?.("summary")?.parentElement === menu) return;
      const chosen = menu.contains(target) && target.closest("button, a");
      // The button is hidden with the menu: focus returns to what opened it.
      if (chosen) menu.querySelector("summary").focus({ preventScroll: true });
      if (chosen || !menu.contains(target)) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    const menu = document.activeElement?.closest?.("details.menu[open]") || open()[0];
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus({ preventScroll: true });
    event.stopPropagation();
  }, true);
})();
