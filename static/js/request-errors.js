// Reports actions and filters that got no response, and resets the filter fields to match the rows shown.
(() => {
  const isOurs = (ctx) => ctx?.sourceElement && !ctx.sourceElement.matches?.("[data-live]");
  const isChange = (ctx) => (ctx.request?.method || "").toUpperCase() !== "GET";
  let applied = {};

  function showProblem(text) {
    const line = document.querySelector("#problem-template").content.cloneNode(true);
    line.querySelector("span").textContent = text;
    document.querySelector("#flash").replaceChildren(line);
  }
  // The fields of the filter form; they are in different places of the page.
  const fields = () => [...document.querySelector("#filter")?.elements || []].filter((field) => field.name && field.type !== "hidden");
  const remember = () => { applied = Object.fromEntries(fields().map((field) => [field.name, field.value])); };
  function resetFields() {
    // A text field the user is typing in keeps its text.
    for (const field of fields()) if (field !== document.activeElement || field.matches("select")) field.value = applied[field.name] ?? "";
  }
  function reportFailure(ctx, text) {
    if (ctx.sourceElement.id === "filter") resetFields();
    showProblem(text);
  }

  document.addEventListener("htmx:error", ({ detail: { ctx, error } }) => {
    if (!isOurs(ctx) || ctx.response) return;
    const isLate = error === "timeout" || error?.name === "TimeoutError" || ctx.request?.signal?.reason === "timeout";
    if (!isChange(ctx)) reportFailure(ctx, `${isLate ? "The request timed out." : "Couldn't reach the server."} Try again.`);
    else if (isLate) reportFailure(ctx, "The request timed out. The change may have been applied: check before you try again.");
    else reportFailure(ctx, "Couldn't reach the server. Nothing was changed. Try again.");
  });
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (!isOurs(ctx)) return;
    const { status } = ctx.response;
    if (status < 400) { if (ctx.sourceElement.id === "filter") remember(); return; }
    if (ctx.sourceElement.id === "filter") resetFields();
    // The application's own errors include a flash message; a proxy's error page does not.
    if ((ctx.text || "").includes("#flash")) return;
    showProblem(isChange(ctx) ? `Server error (${status}). The change may have been applied: check before you try again.` : `Server error (${status}). Try again.`);
  });
  remember();
})();
