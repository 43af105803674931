"use strict";
(() => {
  const video = document.getElementById("video"), rows = document.getElementById("rows");
  let end = Infinity;
  rows.addEventListener("click", ({ target }) => {
    const { link, from, to } = target.dataset;
    if (!link) return;
    video.hidden = false;
    if (video.getAttribute("src") !== link) video.src = link;
    end = Number(to) + 1;
    video.currentTime = Math.max(0, Number(from) - 1);
    video.play();
    video.scrollIntoView({ block: "nearest" });
  });
  video.addEventListener("timeupdate", () => {
    if (video.currentTime >= end) { video.pause(); end = Infinity; }
  });
  document.getElementById("unit").addEventListener("change", ({ target }) => {
    for (const row of rows.children) row.hidden = Boolean(target.value) && row.dataset.unit !== target.value;
  });
})();
