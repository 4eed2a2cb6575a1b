// Refreshes the live regions of a page: [data-live] is the interval in seconds.
(() => {
  const FAST = 4, SLOWEST = 60;
  const MESSAGES = { 401: "Signed out. Reload to sign in.", 404: "No longer exists." };
  const timers = {}, failures = {}, cached = {}, errors = {};
  let lastSuccess = new Date();
  const on = (name, run) => document.addEventListener(name, run);
  const region = (ctx) => ctx?.sourceElement?.matches?.("[data-live]") ? ctx.sourceElement.id : null;
  const chosen = () => +document.querySelector("#interval")?.value || 0;

  let isHeld = false;
  // Every response for the main region includes the counts. They are requested alone only if that region is slower, held or missing.
  const isRedundant = (el) => el.id === "pulse" && document.querySelector("#live") && !isHeld
    && (chosen() || +document.querySelector("#live").dataset.live <= FAST);
  // refresh-guard.js cancels this event while the user is about to act on the rows.
  const mayRefresh = (id) => document.dispatchEvent(new CustomEvent("before-refresh", { cancelable: true, detail: id }));

  function seconds(el) {
    const usual = chosen() || +el.dataset.live || FAST;
    return Math.min(usual * 2 ** (failures[el.id] || 0), Math.max(usual, SLOWEST));
  }
  function schedule(id) {
    clearTimeout(timers[id]);
    const el = document.getElementById(id);
    // With jitter, so that many tabs don't send their requests at once.
    if (el?.dataset.live) timers[id] = setTimeout(refresh, seconds(el) * (900 + Math.random() * 200), id);
  }
  function refresh(id, force) {
    const el = document.getElementById(id);
    schedule(id);
    if (!el || isRedundant(el)) return;
    const isAllowed = force || mayRefresh(id);
    if (id === "live") isHeld = !isAllowed;
    if (isAllowed) htmx.trigger(el, "tick");
  }

  function report(id, error) {
    failures[id] = error ? (failures[id] || 0) + 1 : 0;
    if (!error && id === "live") lastSuccess = new Date();
    errors[id] = error;
    const worst = errors.live || errors.pulse;
    const text = worst ? MESSAGES[worst] || `Not updating since ${lastSuccess.toTimeString().slice(0, 5)}` : "";
    const stale = document.querySelector("#stale");
    if (stale.textContent !== text) stale.textContent = text;
    document.documentElement.toggleAttribute("data-stale", !!worst);
  }

  on("htmx:config:request", ({ detail: { ctx } }) => {
    const id = region(ctx), last = cached[id];
    // Buttons carry their URL only in formaction: repeating it in hx-post makes long lists noticeably larger.
    const own = !id && ctx.sourceElement?.getAttribute("formaction");
    if (own) ctx.request.action = own;
    if (id && last?.url === ctx.request.action) ctx.request.headers["If-None-Match"] = last.etag;
    // A refresh in progress must not overwrite the result of an action or a filter.
    if (!id) htmx.trigger("#live", "htmx:abort");
  });
  on("htmx:before:response", (event) => {
    const { ctx } = event.detail, id = region(ctx);
    if (id && ctx.response.raw.redirected) { event.preventDefault(); report(id, 401); }
  });
  on("htmx:after:request", ({ detail: { ctx } }) => {
    const id = region(ctx), { status, headers } = ctx.response;
    if (!id) { delete cached.live; return; }
    const etag = headers.get("ETag");
    if (status === 200 && etag) cached[id] = { url: ctx.request.action, etag };
    report(id, status >= 400 ? status : 0);
  });
  on("htmx:error", ({ detail: { ctx } }) => { if (region(ctx) && !ctx.response) report(region(ctx), 599); });
  // An action may have changed the interval of the main region.
  on("htmx:finally:request", ({ detail: { ctx } }) => schedule(region(ctx) || "live"));
  on("htmx:before:history:update", (event) => { if (event.detail.response?.status >= 400) event.preventDefault(); });
  on("refresh", () => document.querySelectorAll("[data-live]").forEach((el) => refresh(el.id, true)));
  document.querySelectorAll("[data-live]").forEach((el) => schedule(el.id));
})();
