"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const units = JSON.parse($("data").textContent);
  const element = (tag, words, kind) => {
    const made = document.createElement(tag);
    if (words) made.textContent = words;
    if (kind) made.className = kind;
    return made;
  };

  // ---- two tabs ------------------------------------------------------------------------------------------
  const tabs = [$("tabfile"), $("tabcamera")];
  function show(tab) {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      $(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
    if (tab !== $("tabcamera")) stop();
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      show(tabs[1 - i]); tabs[1 - i].focus();
    });
  });

  // ---- files ---------------------------------------------------------------------------------------------
  const say = (words) => { $("said").textContent = words; };

  function row(name) {
    const item = element("li", "", "job");
    const words = element("div"), state = element("span", "coming in", "state"), actions = element("div", "", "actions");
    const bar = document.createElement("progress");
    bar.max = 1; bar.setAttribute("aria-label", `progress of ${name}`);
    words.append(element("b", name), " ", state);
    item.append(words, actions, bar);
    $("jobs").prepend(item);
    return { item, state, actions, bar };
  }

  async function take(file) {
    const line = row(file.name);
    let answer, told;
    try {
      answer = await fetch(`jobs?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      told = await answer.json();
    } catch { return failed(line, "it could not be sent; is the program still running?"); }
    if (!answer.ok) return failed(line, told.message);
    const remove = element("button", "Remove");
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", async () => {
      line.gone = true;
      await fetch(`jobs/${told.id}`, { method: "DELETE" });
      line.item.remove();
      if ($("frame").dataset.job === told.id) { $("result").hidden = true; $("frame").removeAttribute("src"); }
    });
    line.actions.append(remove);
    watch(told, line);
  }

  async function watch(told, line) {
    while (!line.gone && (told.state === "waiting" || told.state === "working")) {
      line.state.textContent = told.state === "working" ? `${Math.round(100 * told.share)} %` : `waiting, ${told.ahead} before it`;
      if (told.state === "working") line.bar.value = told.share;
      await new Promise((go) => setTimeout(go, 400));
      try {
        const answer = await fetch(`jobs/${told.id}`);
        if (!answer.ok) return failed(line, (await answer.json()).message);
        told = await answer.json();
      } catch { return failed(line, "the program does not answer any more"); }
    }
    if (line.gone) return;
    if (told.state === "failed") return failed(line, told.message);
    line.bar.remove();
    line.state.textContent = told.message || "done";
    finished(told, line);
  }

  function failed(line, message) {
    line.item.classList.add("failed");
    line.bar.remove();
    line.state.textContent = message;
  }

  function finished(told, line) {
    const at = (label) => `jobs/${told.id}/${encodeURIComponent(told.files[label])}`;
    const links = [];
    if (told.files.page) {
      const look = element("button", "Show");
      look.setAttribute("aria-label", `Show ${told.name}`);
      look.addEventListener("click", () => open(told, at("page")));
      links.push(look);
      const alone = element("a", "Own tab", "button");
      alone.href = at("page"); alone.target = "_blank"; alone.rel = "noopener";
      links.push(alone);
    }
    for (const [label, words] of [["csv", "CSV"], ["parquet", "Parquet"]]) {
      if (!told.files[label]) continue;
      const link = element("a", words, "button");
      link.href = at(label); link.setAttribute("download", "");
      link.setAttribute("aria-label", `${words} table of ${told.name}`);
      links.push(link);
    }
    line.actions.prepend(...links);
    if (told.files.page && $("result").hidden) open(told, at("page"));
    say(`${told.name} is done.`);
  }

  function open(told, address) {
    $("resultname").textContent = told.name;
    $("frame").dataset.job = told.id;
    $("frame").src = address;
    $("result").hidden = false;
  }

  $("choose").addEventListener("change", (event) => { [...event.target.files].forEach(take); event.target.value = ""; });
  const drop = $("drop");
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); [...event.dataTransfer.files].forEach(take); });

  // ---- camera --------------------------------------------------------------------------------------------
  const WIDEST_PX = 640;
  let running = null;

  async function start() {
    let stream;
    try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDEST_PX } } }); }
    catch (error) { $("live").textContent = `No camera: ${error.message}`; return; }
    const video = $("video"), me = { stream };
    running = me;
    video.srcObject = stream;
    await video.play();
    $("start").hidden = true; $("stop").hidden = false;
    const scale = Math.min(1, WIDEST_PX / video.videoWidth), small = document.createElement("canvas");
    small.width = Math.round(video.videoWidth * scale); small.height = Math.round(video.videoHeight * scale);
    const began = performance.now();
    let lately = [];
    while (running === me) {
      small.getContext("2d").drawImage(video, 0, 0, small.width, small.height);
      const picture = await new Promise((go) => small.toBlob(go, "image/jpeg", 0.9));
      const now = performance.now();
      try {
        const answer = await fetch(`live?seconds=${((now - began) / 1000).toFixed(4)}`, { method: "POST", body: picture });
        const told = await answer.json();
        if (!answer.ok) throw new Error(told.message);
        if (running !== me) return;
        lately = [...lately.filter((at) => now - at < 2000), now];
        drawFaces(told.faces, small.width, small.height);
        const fps = lately.length > 1 ? (1000 * (lately.length - 1)) / (now - lately[0]) : 0;
        const seen = told.faces.length ? `${told.faces.length} face${told.faces.length === 1 ? "" : "s"}` : told.reason;
        $("live").textContent = `${seen}, ${fps.toFixed(1)} pictures a second`;
      } catch (error) { if (running === me) { stop(); $("live").textContent = error.message; } }
    }
  }

  function stop() {
    if (!running) return;
    running.stream.getTracks().forEach((track) => track.stop());
    running = null;
    $("video").srcObject = null;
    $("start").hidden = false; $("stop").hidden = true;
    drawFaces([], 1, 1);
    fetch("live", { method: "DELETE" }).catch(() => {});
  }

  function drawFaces(faces, width, height) {
    const overlay = $("overlay"), box = overlay.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    overlay.width = Math.round(box.width * scale); overlay.height = Math.round(box.height * scale);
    const pen = overlay.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const area = (face) => (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]);
    const largest = faces.reduce((best, face) => (!best || area(face) > area(best) ? face : best), null);
    for (const face of faces) {
      const [left, top, right, bottom] = face.box.map((value, i) => value * (i % 2 ? box.height / height : box.width / width));
      pen.lineWidth = 5; pen.strokeStyle = "rgba(0,0,0,.55)"; pen.strokeRect(left, top, right - left, bottom - top);
      pen.lineWidth = 2.5; pen.strokeStyle = face === largest ? "#ffb27f" : "#fff"; pen.strokeRect(left, top, right - left, bottom - top);
      pen.font = "13px system-ui, sans-serif";
      const words = `face ${face.id}`, wide = pen.measureText(words).width + 12, y = Math.max(0, top - 20);
      pen.fillStyle = face === largest ? "#ffb27f" : "#fff"; pen.fillRect(left, y, wide, 20);
      pen.fillStyle = "#1b1410"; pen.fillText(words, left + 6, y + 14);
    }
    document.querySelectorAll(".unit").forEach((line, i) => {
      const value = largest ? largest.probability[i] : null, present = largest && largest.present[i];
      line.classList.toggle("present", Boolean(present));
      line.querySelector("i").style.width = value === null ? "0" : `${100 * value}%`;
      line.querySelector(".value").textContent = value === null ? "" : value.toFixed(2);
      line.querySelector(".mark").textContent = largest ? (present ? "●" : "○") : "";
    });
  }

  document.querySelectorAll(".unit u").forEach((tick, i) => {
    tick.hidden = false;
    tick.style.left = `calc(${100 * units[i].threshold}% - 1px)`;
  });
  $("start").addEventListener("click", start);
  $("stop").addEventListener("click", stop);
  window.addEventListener("pagehide", () => { if (running) fetch("live", { method: "DELETE", keepalive: true }); });
})();
