// hx-confirm asks in our own dialog. It lies outside of every live region, so no refresh can close it.
document.addEventListener("htmx:confirm", (event) => {
  const { ctx, issueRequest, dropRequest } = event.detail;
  const dialog = document.querySelector("#confirm");
  event.preventDefault();
  const verb = ctx.sourceElement.ariaLabel?.split(" ")[0] || "Yes";
  dialog.querySelector("#confirm-text").textContent = ctx.confirm;
  dialog.querySelector("#confirm-yes").textContent = verb;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => (dialog.returnValue === "yes" ? issueRequest() : dropRequest()), { once: true });
  dialog.showModal();
});
