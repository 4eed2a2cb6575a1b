// Light, dark or system theme, stored in a cookie so that the server renders the page in that theme.
document.addEventListener("change", ({ target }) => {
  if (target.name !== "theme") return;
  if (target.value) document.documentElement.dataset.theme = target.value;
  else delete document.documentElement.dataset.theme;
  document.cookie = `theme=${target.value}; path=/; max-age=${target.value ? 31536000 : 0}; samesite=lax`;
});
