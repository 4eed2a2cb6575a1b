// When the focused row or button goes away, focus goes to what took its place instead of the page's top.
(() => {
  let spot = null;
  document.addEventListener("htmx:before:swap", () => {
    const row = document.activeElement?.closest?.("#live [id]:is(tr, article, li)");
    const inside = document.activeElement?.closest?.("#live");
    spot = inside && [row, row?.nextElementSibling, row?.previousElementSibling].filter(Boolean);
  });
  document.addEventListener("htmx:after:swap", () => {
    if (!spot || document.activeElement !== document.body) { spot = null; return; }
    const row = spot.find((el) => el.isConnected);
    const next = row?.querySelector(".actions button, a") || document.querySelector(".head-actions button")
      || document.querySelector("#main");
    spot = null;
    next?.focus({ preventScroll: true });
  });
})();
