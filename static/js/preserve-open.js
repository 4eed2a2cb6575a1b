// A morph doesn't close what the user has opened, nor enable a button whose request is in progress.
(() => {
  htmx.registerExtension("preserve-open", {
    htmx_before_morph_attr(el, { attrName }) {
      if (attrName === "open" && el.matches("details, dialog")) return false;
      // htmx disables the element for the duration of its request.
      if (attrName === "disabled" && el._htmx_state?.dc) return false;
      return true;
    },
  });
})();
