// An action or a filter that got no answer says so; filters go back to what the rows show.
(() => {
  const isOurs = (ctx) => ctx?.sourceElement && !ctx.sourceElement.matches?.("[data-live]");
  const isChange = (ctx) => (ctx.request?.method || "").toUpperCase() !== "GET";
  let applied = {};

  function say(text) {
    const line = document.querySelector("#lost").content.cloneNode(true);
    line.querySelector("span").textContent = text;
    document.querySelector("#flash").replaceChildren(line);
  }
  // Of the filter form, whose fields are spread over the page.
  const fields = () => [...document.querySelector("#filter")?.elements || []].filter((field) => field.name && field.type !== "hidden");
  const remember = () => { applied = Object.fromEntries(fields().map((field) => [field.name, field.value])); };
  function setBack() {
    // What is being typed stays a draft.
    for (const field of fields()) if (field !== document.activeElement || field.matches("select")) field.value = applied[field.name] ?? "";
  }
  function lost(ctx, text) {
    if (ctx.sourceElement.id === "filter") setBack();
    say(text);
  }

  document.addEventListener("htmx:error", ({ detail: { ctx, error } }) => {
    if (!isOurs(ctx) || ctx.response) return;
    const isLate = error === "timeout" || error?.name === "TimeoutError" || ctx.request?.signal?.reason === "timeout";
    if (!isChange(ctx)) lost(ctx, `${isLate ? "The server didn't answer in time." : "Couldn't reach the server."} Try again.`);
    else if (isLate) lost(ctx, "The server didn't answer in time. It may have been done: check before you try again.");
    else lost(ctx, "Couldn't reach the server. Not done. Try again.");
  });
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (!isOurs(ctx)) return;
    const { status } = ctx.response;
    if (status < 400) { if (ctx.sourceElement.id === "filter") remember(); return; }
    if (ctx.sourceElement.id === "filter") setBack();
    // Our own refusals bring their message along; a proxy's page does not.
    if ((ctx.text || "").includes("#flash")) return;
    say(isChange(ctx) ? `The server failed (${status}). It may have been done: check before you try again.` : `The server failed (${status}). Try again.`);
  });
  remember();
})();
