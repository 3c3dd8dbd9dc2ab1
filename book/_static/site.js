// The ledger's filter, the copy button of "cite this", and what the theme leaves out for keyboards and screen readers.
// Every page is complete without this script.
"use strict";

// Search fetches excerpts of the pages it finds, which browsers refuse to a site that is opened from a folder.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// ---------------------------------------------------------------- the ledger: choices live in the address, #verdict=a,b&chapter=01&firm=seeds

function startFilter(form) {
  const claims = [...document.querySelectorAll(".claim")];
  const sections = new Set([...document.querySelectorAll(".ledger")].map((ledger) => ledger.closest("section")));
  const status = form.querySelector(".filter-status");
  const unfiltered = status.textContent;

  const chosen = (name) => [...form.querySelectorAll(`input[name=${name}]:checked`)].map((input) => input.value);

  function show() {
    const wanted = { verdict: chosen("verdict"), chapter: chosen("chapter"), firm: chosen("firm") };
    const names = Object.keys(wanted).filter((name) => wanted[name].length);
    // One of the chosen verdicts and chapters will do; of the checks, a row must pass all.
    const fits = (claim, name) =>
      name === "firm"
        ? wanted.firm.every((check) => claim.dataset.firm.split(" ").includes(check))
        : wanted[name].includes(claim.dataset[name]);
    for (const claim of claims) {
      claim.hidden = !names.every((name) => fits(claim, name));
    }
    for (const section of sections) {
      section.hidden = !section.querySelector(".claim:not([hidden])");
    }
    const left = claims.filter((claim) => !claim.hidden).length;
    status.textContent = names.length ? `${left} of ${claims.length} claims shown.` : unfiltered;
    return names.map((name) => `${name}=${wanted[name].join(",")}`).join("&");
  }

  function choose(address) {
    const wanted = new URLSearchParams(address);
    for (const input of form.querySelectorAll("input")) {
      input.checked = (wanted.get(input.name) || "").split(",").includes(input.value);
    }
    show();
  }

  // A filter in the address is applied. The address of a row that is filtered out brings all rows back.
  function follow() {
    const fragment = decodeURIComponent(location.hash.slice(1));
    if (fragment.includes("=")) return choose(fragment);
    const target = fragment && document.getElementById(fragment);
    if (target && target.closest("[hidden]")) {
      choose("");
      target.scrollIntoView();
    }
  }

  form.addEventListener("change", () => history.replaceState(null, "", "#" + show()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    choose("");
    history.replaceState(null, "", "#");
  });
  window.addEventListener("hashchange", follow);
  follow();
}

// ---------------------------------------------------------------- cite this

function startCopying(box) {
  const text = box.querySelector(".cite-text");
  const done = box.querySelector(".cite-done");
  box.querySelector(".cite-copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      done.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(text);
      done.textContent = "Selected: copy it with your keyboard.";
    }
  });
}

// ---------------------------------------------------------------- print: pages allow no handlers in their tags

for (const button of document.querySelectorAll(".btn-download-pdf-button")) {
  button.addEventListener("click", () => window.print());
}

// ---------------------------------------------------------------- what scrolls can be reached with the tabulator key

const SCROLLERS = "pre, .table-scroll, .result-picture, .pst-scrollable-table-container, .cell_output .output, div.math, mjx-container";

function letScrollersBeFocused() {
  for (const box of document.querySelectorAll(SCROLLERS)) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// ---------------------------------------------------------------- arrows in the list of pages get a name

for (const arrow of document.querySelectorAll(".bd-sidebar-primary li > details > summary")) {
  arrow.ariaLabel = `Pages of ${arrow.closest("li").querySelector("a").textContent.trim()}`;
}

document.querySelectorAll(".ledger-filter").forEach(startFilter);
document.querySelectorAll(".cite").forEach(startCopying);
letScrollersBeFocused();
window.addEventListener("load", () => {
  letScrollersBeFocused();
  window.MathJax?.startup?.promise?.then(letScrollersBeFocused);
});
window.addEventListener("resize", letScrollersBeFocused);
