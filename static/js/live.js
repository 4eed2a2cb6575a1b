// The regions of a page look again by themselves: [data-live] says after how many seconds.
(() => {
  const FAST = 4, SLOWEST = 60;
  const WORDS = { 401: "Signed out. Reload to sign in.", 404: "Deleted meanwhile." };
  const timers = {}, fails = {}, known = {}, wrong = {};
  let good = new Date();
  const on = (name, run) => document.addEventListener(name, run);
  const region = (ctx) => ctx?.sourceElement?.matches?.("[data-live]") ? ctx.sourceElement.id : null;
  const chosen = () => +document.querySelector("#interval")?.value || 0;

  let isHeld = false;
  // The counts come with every main region; alone they are asked for beside a slower or held one, or none.
  const idle = (el) => el.id === "pulse" && document.querySelector("#live") && !isHeld
    && (chosen() || +document.querySelector("#live").dataset.live <= FAST);
  // hold.js objects while a person is deciding about what they see.
  const mayLook = (id) => document.dispatchEvent(new CustomEvent("look", { cancelable: true, detail: id }));

  function seconds(el) {
    const usual = chosen() || +el.dataset.live || FAST;
    return Math.min(usual * 2 ** (fails[el.id] || 0), Math.max(usual, SLOWEST));
  }
  function plan(id) {
    clearTimeout(timers[id]);
    const el = document.getElementById(id);
    // Spread a little, so that many tabs don't ask at once.
    if (el?.dataset.live) timers[id] = setTimeout(look, seconds(el) * (900 + Math.random() * 200), id);
  }
  function look(id, force) {
    const el = document.getElementById(id);
    plan(id);
    if (!el || idle(el)) return;
    const isAllowed = force || mayLook(id);
    if (id === "live") isHeld = !isAllowed;
    if (isAllowed) htmx.trigger(el, "tick");
  }

  function result(id, why) {
    fails[id] = why ? (fails[id] || 0) + 1 : 0;
    if (!why && id === "live") good = new Date();
    wrong[id] = why;
    const worst = wrong.live || wrong.pulse;
    const text = worst ? WORDS[worst] || `Not updating since ${good.toTimeString().slice(0, 5)}` : "";
    const stale = document.querySelector("#stale");
    if (stale.textContent !== text) stale.textContent = text;
    document.documentElement.toggleAttribute("data-stale", !!worst);
  }

  on("htmx:config:request", ({ detail: { ctx } }) => {
    const id = region(ctx), last = known[id];
    // The address stands once in a button: fifty rows of them make a page heavy.
    const own = !id && ctx.sourceElement?.getAttribute("formaction");
    if (own) ctx.request.action = own;
    if (id && last?.url === ctx.request.action) ctx.request.headers["If-None-Match"] = last.etag;
    // An older look must not overwrite what an action or a filter is about to show.
    if (!id) htmx.trigger("#live", "htmx:abort");
  });
  on("htmx:before:response", (event) => {
    const { ctx } = event.detail, id = region(ctx);
    if (id && ctx.response.raw.redirected) { event.preventDefault(); result(id, 401); }
  });
  on("htmx:after:request", ({ detail: { ctx } }) => {
    const id = region(ctx), { status, headers } = ctx.response;
    if (!id) { delete known.live; return; }
    const etag = headers.get("ETag");
    if (status === 200 && etag) known[id] = { url: ctx.request.action, etag };
    result(id, status >= 400 ? status : 0);
  });
  on("htmx:error", ({ detail: { ctx } }) => { if (region(ctx) && !ctx.response) result(region(ctx), 599); });
  on("htmx:finally:request", ({ detail: { ctx } }) => { if (region(ctx)) plan(region(ctx)); });
  on("htmx:before:history:update", (event) => { if (event.detail.response?.status >= 400) event.preventDefault(); });
  on("refresh", () => document.querySelectorAll("[data-live]").forEach((el) => look(el.id, true)));
  document.querySelectorAll("[data-live]").forEach((el) => plan(el.id));
})();
