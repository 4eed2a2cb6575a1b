// hx-confirm opens our own dialog. It is outside every live region, so a refresh can't close it.
// data-yes and data-no are the button labels; data-type is a number the user has to type to enable the yes button.
(() => {
  const $ = (id) => document.getElementById(id);
  let expected = null;
  const digits = (text) => text.replace(/\D/g, "");
  const check = () => { $("confirm-yes").disabled = expected !== null && digits($("confirm-typed").value) !== expected; };

  document.addEventListener("htmx:confirm", (event) => {
    const { ctx, issueRequest, dropRequest } = event.detail, button = ctx.sourceElement, dialog = $("confirm");
    event.preventDefault();
    expected = button.dataset.type || null;
    $("confirm-text").textContent = ctx.confirm;
    $("confirm-yes").textContent = button.dataset.yes || button.ariaLabel?.split(" ")[0] || button.textContent;
    $("confirm-no").textContent = button.dataset.no || "Go back";
    $("confirm-type").hidden = expected === null;
    $("confirm-type").firstElementChild.textContent = `Type ${expected} to confirm`;
    $("confirm-typed").value = "";
    check();
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return dropRequest();
      if (expected !== null) ctx.request.body.set("typed", expected);
      issueRequest();
    }, { once: true });
    dialog.showModal();
  });
  document.addEventListener("input", (event) => { if (event.target.id === "confirm-typed") check(); });
  // Enter in the field confirms once the number is right. Without this it would press the first button of the form.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.id !== "confirm-typed") return;
    event.preventDefault();
    if (!$("confirm-yes").disabled) $("confirm-yes").click();
  });
})();
