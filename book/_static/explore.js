// Moves the marks of a figure in which the reader chooses what captions mention. The page holds the numbers of every choice.
"use strict";

function startExplorer(figure) {
  const choices = JSON.parse(figure.dataset.choices);
  const [marks, numbers, mentioned] = [".explore-mark", ".explore-number", ".explore-said"].map((name) => [
    ...figure.querySelectorAll(name),
  ]);
  const slider = figure.querySelector("input[type=range]");

  function show(choice) {
    choice.marks.forEach((mark, i) => {
      marks[i].hidden = !mark;
      if (mark) marks[i].style.cssText = mark[0];
      numbers[i].textContent = mark ? mark[1] : "";
    });
    choice.mentioned.forEach((said, i) => (mentioned[i].hidden = !said));
    if (slider) {
      slider.ariaValueText = choice.name;
      figure.querySelector(".explore-choice").textContent = choice.name;
    }
  }

  // What a hidden reader leaves free is shared among the others: the height of a row in the picture, the width of the table.
  function read() {
    let shown = 0;
    for (const { value, checked } of figure.querySelectorAll(".explore-legend input")) {
      figure.classList.toggle(`without-${value}`, !checked);
      figure.style.setProperty(`--lane-${value}`, shown);
      for (const row of figure.querySelectorAll(".explore-numbers tr")) row.cells[Number(value) + 1].hidden = !checked;
      shown += checked;
    }
    figure.style.setProperty("--shown", shown);
  }

  figure.addEventListener("input", ({ target }) => {
    if (target.type === "checkbox") read();
    else show(choices[Number(target.value)]);
  });
}

document.querySelectorAll(".explore").forEach(startExplorer);
