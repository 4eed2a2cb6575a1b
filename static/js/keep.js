// What a person has opened or is using survives a morph, whatever the server renders.
(() => {
  htmx.registerExtension("keep", {
    htmx_before_morph_attr(el, { attrName }) {
      if (attrName === "open" && el.matches("details, dialog")) return false;
      // Inside a request htmx itself has disabled the element.
      if (attrName === "disabled" && el._htmx_state?.dc) return false;
      return true;
    },
  });
})();
