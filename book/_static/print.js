// The report as one printed document: table of contents, numbers of chapters, figures and tables, links that stay inside.
// `PAGES` tells the page of each heading by its id; it is empty in the first printing, which finds them out.
"use strict";

const all = (selector) => [...document.querySelectorAll(selector)];
const make = (tag, text, classes = "") => Object.assign(document.createElement(tag), { textContent: text, className: classes });

// Pages that were made one by one use the same names for different places, and link to files beside them.
function tellPlacesApart() {
  all(".headerlink").forEach((link) => link.remove());
  all(".bibtex-citation").forEach((citation) => citation.removeAttribute("id"));
  all(".claim").forEach((claim) => claim.closest("#the-ledger-of-claims") || claim.removeAttribute("id"));
  for (const link of all("a[href]")) {
    if (link.hash && link.pathname === location.pathname) link.setAttribute("href", link.hash);
    else if (link.protocol === "file:") link.removeAttribute("href"); // pictures and downloads do not come along
  }
}

function numberChapters() {
  for (const start of all("[id^='document-book/']")) {
    const chapter = start.id.match(/document-book\/(\d\d)_/);
    const heading = start.nextElementSibling.querySelector("h2");
    if (chapter) heading.prepend(`${Number(chapter[1])} \u00a0 `);
  }
}

function numberResults() {
  for (const [kind, word] of [["figure", "Figure"], ["table", "Table"]]) {
    all(`figure.result-${kind}`).forEach((figure, i) => {
      const caption = figure.querySelector(".result-caption");
      (caption.querySelector("p") ?? caption).prepend(make("strong", `${word} ${i + 1}. `));
      for (const link of all(`a[href="#${figure.id}"]`)) link.textContent = `${word} ${i + 1}`;
    });
  }
}

function tableOfContents(pages) {
  const contents = make("nav", "", "pages");
  contents.append(make("p", "Contents", "pages-title"));
  all(".toctree-wrapper h2, .toctree-wrapper h3").forEach((heading, i) => {
    heading.id = `heading-${i}`;
    const entry = make("a", "", `pages-${heading.tagName.toLowerCase()}`);
    entry.href = `#${heading.id}`;
    entry.append(make("span", heading.textContent), make("span", pages[heading.id] ?? ""));
    contents.append(entry);
  });
  document.querySelector(".toctree-wrapper").before(contents);
}

tellPlacesApart();
numberChapters();
numberResults();
tableOfContents(PAGES);
all("#the-ledger-of-claims details.claim-rule").forEach((rule) => (rule.open = true));
