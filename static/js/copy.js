// [data-copy="text"], [data-copy title="text"] or [data-copy-from="#template"] → clipboard, with a mark that it was copied.
(() => {
  async function write(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // The clipboard API is missing on plain HTTP, except on localhost.
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "sr" });
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone ? undefined : Promise.reject(new Error("copy refused"));
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    event.preventDefault();
    const source = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
    const text = source ? source.content.textContent : button.dataset.copy || button.title;
    const copied = await write(text).then(() => "yes", () => "no");
    button.dataset.copied = copied;
    document.querySelector("#copied").textContent = copied === "yes" ? "Copied" : "Could not copy";
    setTimeout(() => { delete button.dataset.copied; document.querySelector("#copied").textContent = ""; }, 1500);
  });
})();
