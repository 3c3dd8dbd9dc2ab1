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

  figure.addEventListener("input", ({ target }) => {
    if (target.type === "checkbox") figure.classList.toggle(`without-${target.value}`, !target.checked);
    else show(choices[Number(target.value)]);
  });
}

document.querySelectorAll(".explore").forEach(startExplorer);
