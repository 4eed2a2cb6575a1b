// hx-confirm asks in our own dialog. It lies outside of every live region, so no refresh can close it.
// data-yes and data-no name its buttons; data-type is a number that has to be typed before yes is possible.
(() => {
  const $ = (id) => document.getElementById(id);
  let wanted = null;
  const digits = (text) => text.replace(/\D/g, "");
  const check = () => { $("confirm-yes").disabled = wanted !== null && digits($("confirm-typed").value) !== wanted; };

  document.addEventListener("htmx:confirm", (event) => {
    const { ctx, issueRequest, dropRequest } = event.detail, button = ctx.sourceElement, dialog = $("confirm");
    event.preventDefault();
    wanted = button.dataset.type || null;
    $("confirm-text").textContent = ctx.confirm;
    $("confirm-yes").textContent = button.dataset.yes || button.ariaLabel?.split(" ")[0] || button.textContent;
    $("confirm-no").textContent = button.dataset.no || "Go back";
    $("confirm-type").hidden = wanted === null;
    $("confirm-type").firstElementChild.textContent = `Type ${wanted} to confirm`;
    $("confirm-typed").value = "";
    check();
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return dropRequest();
      if (wanted !== null) ctx.request.body.set("typed", wanted);
      issueRequest();
    }, { once: true });
    dialog.showModal();
  });
  document.addEventListener("input", (event) => { if (event.target.id === "confirm-typed") check(); });
  // Enter in the field is a yes, once the number is right; never the first button of the form.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.id !== "confirm-typed") return;
    event.preventDefault();
    if (!$("confirm-yes").disabled) $("confirm-yes").click();
  });
})();
