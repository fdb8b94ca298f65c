"use strict";
for (const compare of document.querySelectorAll(".compare")) {
  const controls = compare.querySelector(".controls");
  const slider = compare.querySelector("input");
  const now = compare.querySelector(".now");
  let timer = null;
  const show = (mode) => {
    clearInterval(timer);
    compare.dataset.mode = mode;
    compare.classList.remove("hide");
    now.textContent = "";
    for (const button of controls.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.set === mode));
    }
    if (mode === "flicker") {
      const swap = () => { now.textContent = compare.classList.toggle("hide") ? "before" : "after"; };
      swap();
      timer = setInterval(swap, 700);
    }
  };
  controls.hidden = false;
  controls.addEventListener("click", (event) => { if (event.target.dataset.set) show(event.target.dataset.set); });
  slider.addEventListener("input", () => compare.style.setProperty("--cut", slider.value + "%"));
}
