// Before the page is drawn: light or dark, as chosen here once, else as the system has it.
(() => {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("rrm-view-theme"); } catch { /* a browser may keep nothing */ }
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    document.documentElement.dataset.bsTheme = chosen ?? (dark.matches ? "dark" : "light");
  };
  set();
  dark.addEventListener("change", set);
  window.rrmTheme = () => {
    chosen = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
    try { localStorage.setItem("rrm-view-theme", chosen); } catch { /* as above */ }
    set();
  };
})();
