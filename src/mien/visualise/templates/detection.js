"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  // ---- what the table says -------------------------------------------------------------------------------
  const frames = new Uint32Array(bytes(data.frame).buffer);
  const seconds = new Float64Array(bytes(data.seconds).buffer);
  const reason = bytes(data.reason);
  const units = data.units, numFrames = frames.length;
  const faces = data.faces.map((about) => {
    const place = new Uint32Array(bytes(about.place).buffer);
    const rowOf = new Int32Array(numFrames).fill(-1);
    place.forEach((where, row) => { rowOf[where] = row; });
    return { id: about.id, place, rowOf, level: bytes(about.probability), sides: bytes(about.sides), bits: bytes(about.present),
             stride: (place.length + 7) >> 3, box: new Uint16Array(bytes(about.box).buffer) };
  });
  const levelOf = (face, unit, row) => face.level[unit * face.place.length + row]; // of 254; 255: missing
  const presentIn = (face, unit, row) => (face.bits[unit * face.stride + (row >> 3)] >> (7 - (row & 7))) & 1;

  const start = seconds[0], end = start + data.duration, EPS = 1e-4;
  const step = numFrames > 1 ? data.duration / numFrames : 0.04;

  function placeAt(time) { // the last frame that is shown at or before `time`
    let low = 0, high = numFrames - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (seconds[middle] <= time + EPS) low = middle; else high = middle - 1;
    }
    return low;
  }
  const endOf = (place) => (place + 1 < numFrames ? seconds[place + 1] : end);

  // ---- state ---------------------------------------------------------------------------------------------
  const video = $("video"), still = $("still"), overlay = $("overlay");
  const longest = faces.reduce((best, face, i) => (face.place.length > faces[best].place.length ? i : best), 0);
  const state = { time: start, place: 0, face: faces.length ? longest : -1, unit: 0, from: start, to: end };
  const face = () => faces[state.face];
  const options = [...document.querySelectorAll(".unit")];

  function clock(time) {
    const t = Math.max(0, time + data.offset), m = Math.floor(t / 60);
    const h = Math.floor(m / 60), s = (t - 60 * m).toFixed(2).padStart(5, "0");
    return h ? `${h}:${String(m % 60).padStart(2, "0")}:${s}` : `${m}:${s}`;
  }
  const unitName = (unit) => `${units[unit].column} ${units[unit].name}`.trim();

  function told(unit, place) { // value of one unit of the chosen face, in words
    const row = face() ? face().rowOf[place] : -1;
    if (row < 0) return reason[place] ? data.reasons[reason[place] - 1] : "this face is not in the frame";
    const level = levelOf(face(), unit, row);
    const number = level > 254 ? "no value" : (level / 254).toFixed(2);
    return `${number}, ${units[unit].blank ? "presence left blank" : presentIn(face(), unit, row) ? "present" : "absent"}`;
  }

  // ---- drawing -------------------------------------------------------------------------------------------
  const ROW = 24, MARK = 4;
  let colours = {}, ramp = [], shadeOf = [];
  // For each unit the colour of each level: of the probability itself, or with the threshold in the middle.
  function readShades() {
    const relative = video && $("relative").checked;
    shadeOf = units.map(({ threshold }) => Array.from({ length: 255 }, (_, level) => {
      if (!relative || !(threshold > 0 && threshold < 1)) return level;
      const p = level / 254, share = p < threshold ? (0.5 * p) / threshold : 0.5 + (0.5 * (p - threshold)) / (1 - threshold);
      return Math.round(254 * share);
    }));
  }
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "quiet", "line", "paper", "card", "accent", "accentink", "heat0", "heat1", "heat2", "gap"])
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    const rgb = (hex) => {
      const long = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
      return [1, 3, 5].map((i) => parseInt(long.slice(i, i + 2), 16));
    };
    const stops = [rgb(colours.heat0), rgb(colours.heat1), rgb(colours.heat2)];
    ramp = Array.from({ length: 255 }, (_, level) => {
      const x = (level / 254) * 2, i = Math.min(1, Math.floor(x));
      return stops[i].map((value, c) => Math.round(value + (stops[i + 1][c] - value) * (x - i)));
    });
  }

  function sized(canvas, heightPx) { // the canvas at the screen's own resolution; null while it is not shown
    const scale = window.devicePixelRatio || 1, width = canvas.parentElement.clientWidth;
    if (!width) return null;
    const height = heightPx || canvas.clientHeight;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    if (heightPx) canvas.style.height = `${heightPx}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return { pen, width, height };
  }

  function hatched(pen) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const brush = tile.getContext("2d");
    brush.strokeStyle = colours.gap; brush.lineWidth = 1.6;
    for (const shift of [-6, 0, 6]) { brush.beginPath(); brush.moveTo(shift - 1, 7); brush.lineTo(shift + 7, -1); brush.stroke(); }
    return pen.createPattern(tile, "repeat");
  }

  // For each of `columns` columns between two times: first and last frame, in one pass over the frames.
  function eachColumn(columns, from, to, visit) {
    const width = (to - from) / columns;
    for (let x = 0; x < columns; x++) {
      const first = placeAt(from + x * width);
      let last = placeAt(from + (x + 1) * width);
      if (last > first && seconds[last] >= from + (x + 1) * width - EPS) last--;
      visit(x, first, last);
    }
  }

  const SEEN = 0, AWAY = 1, NONE = 2;
  function columnKind(of, first, last) {
    let kind = NONE;
    for (let p = first; p <= last; p++) {
      if (of && of.rowOf[p] >= 0) return SEEN;
      if (!reason[p]) kind = AWAY;
    }
    return kind;
  }

  function fillRuns(pen, kinds, kind, style, top, height, width) {
    pen.fillStyle = style;
    const scale = width / kinds.length;
    for (let x = 0; x < kinds.length; x++) {
      if (kinds[x] !== kind) continue;
      let next = x + 1;
      while (next < kinds.length && kinds[next] === kind) next++;
      pen.fillRect(x * scale, top, (next - x) * scale, height);
      x = next;
    }
  }

  function drawHeat() {
    const area = sized($("heat"), ROW * units.length);
    if (!area) return;
    const { pen, width, height } = area, columns = $("heat").width, of = face();
    const image = new ImageData(columns, units.length), kinds = new Uint8Array(columns);
    const marks = units.map(() => new Uint8Array(columns));
    eachColumn(columns, state.from, state.to, (x, first, last) => {
      kinds[x] = columnKind(of, first, last);
      if (kinds[x] !== SEEN) return;
      for (let unit = 0; unit < units.length; unit++) {
        let most = -1;
        for (let p = first; p <= last; p++) {
          const row = of.rowOf[p];
          if (row < 0) continue;
          const level = levelOf(of, unit, row);
          if (level <= 254 && level > most) most = level;
          if (presentIn(of, unit, row)) marks[unit][x] = 1;
        }
        if (most >= 0) image.data.set([...ramp[shadeOf[unit][most]], 255], 4 * (unit * columns + x));
      }
    });
    const strip = document.createElement("canvas");
    strip.width = columns; strip.height = units.length;
    strip.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    fillRuns(pen, kinds, NONE, hatched(pen), 0, height, width);
    for (let unit = 0; unit < units.length; unit++) {
      pen.drawImage(strip, 0, unit, columns, 1, 0, unit * ROW + 1, width, ROW - 2);
      fillRuns(pen, marks[unit], 1, colours.paper, (unit + 1) * ROW - MARK - 3, MARK + 2, width);
      fillRuns(pen, marks[unit], 1, colours.accent, (unit + 1) * ROW - MARK - 2, MARK, width);
    }
    pen.strokeStyle = colours.ink; pen.lineWidth = 1.5;
    pen.strokeRect(0.75, state.unit * ROW + 0.75, width - 1.5, ROW - 1.5);
  }

  function drawCurve() {
    const area = sized($("curve"));
    if (!area) return;
    const { pen, width, height } = area, top = 6, bottom = height - 6, of = face();
    const columns = Math.max(1, Math.floor(width));
    const threshold = units[state.unit].threshold;
    pen.fillStyle = colours.card; pen.fillRect(0, 0, width, height);
    const kinds = new Uint8Array(columns), marks = new Uint8Array(columns), spans = new Array(columns).fill(null);
    eachColumn(columns, state.from, state.to, (x, first, last) => {
      kinds[x] = columnKind(of, first, last);
      if (kinds[x] !== SEEN) return;
      let low = 255, high = -1;
      for (let p = first; p <= last; p++) {
        const row = of.rowOf[p];
        if (row < 0) continue;
        if (presentIn(of, state.unit, row)) marks[x] = 1;
        const level = levelOf(of, state.unit, row);
        if (level <= 254) { low = Math.min(low, level); high = Math.max(high, level); }
      }
      if (high >= 0) spans[x] = [low / 254, high / 254];
    });
    const highest = spans.reduce((most, span) => Math.max(most, span ? span[1] : 0), threshold || 0);
    const greatest = [0.1, 0.25, 0.5, 1].find((value) => highest <= 0.95 * value) || 1;
    const y = (value) => bottom + (top - bottom) * (value / greatest);
    spans.forEach((span, x) => { if (span) spans[x] = span.map(y); });
    fillRuns(pen, kinds, NONE, hatched(pen), 0, height, width);
    pen.globalAlpha = 0.16; fillRuns(pen, marks, 1, colours.accent, 0, height, width); pen.globalAlpha = 1;
    fillRuns(pen, marks, 1, colours.accent, height - MARK, MARK, width);
    pen.strokeStyle = colours.ink; pen.lineWidth = 1.6; pen.lineJoin = "round"; pen.beginPath();
    for (let x = 0, drawing = false; x < columns; x++) {
      if (!spans[x]) { drawing = false; continue; }
      const at = (x + 0.5) * width / columns;
      drawing ? pen.lineTo(at, spans[x][0]) : pen.moveTo(at, spans[x][0]);
      if (spans[x][1] !== spans[x][0]) pen.lineTo(at, spans[x][1]);
      else if (!drawing) pen.lineTo(at + 0.01, spans[x][0]);
      drawing = true;
    }
    pen.stroke();
    pen.font = "11px system-ui, sans-serif";
    if (threshold !== null) {
      pen.setLineDash([6, 4]); pen.lineWidth = 1.5; pen.strokeStyle = colours.ink; pen.beginPath();
      pen.moveTo(0, y(threshold)); pen.lineTo(width, y(threshold)); pen.stroke(); pen.setLineDash([]);
      pen.textAlign = "right";
      const text = `threshold ${threshold.toFixed(2)}`, under = threshold > 0.8 * greatest;
      pen.fillStyle = colours.card; pen.globalAlpha = 0.8;
      pen.fillRect(width - pen.measureText(text).width - 8, y(threshold) + (under ? 3 : -17), pen.measureText(text).width + 8, 14);
      pen.globalAlpha = 1; pen.fillStyle = colours.ink; pen.fillText(text, width - 4, y(threshold) + (under ? 14 : -6));
    }
    $("curvelabel").textContent = `${unitName(state.unit)}, probability 0 to ${greatest}`;
  }

  function drawSides() { // the highest intensity of each column; the right side is dashed
    if (!$("sides")) return;
    const of = face(), { column, sides } = units[state.unit];
    for (const part of [$("sideslane"), $("sideslabel")]) part.hidden = sides === null;
    const area = sides === null ? null : sized($("sides"));
    if (!area) return;
    const { pen, width, height } = area, columns = Math.max(1, Math.floor(width));
    $("sidesname").textContent = `${column}, intensity 0 to 5`;
    pen.fillStyle = colours.card; pen.fillRect(0, 0, width, height);
    if (!of) return;
    [["accent", []], ["heat2", [5, 4]]].forEach(([colour, dashes], side) => {
      const levels = of.sides.subarray((2 * sides + side) * of.place.length);
      pen.strokeStyle = colours[colour]; pen.setLineDash(dashes); pen.lineWidth = 1.8; pen.beginPath();
      let drawing = false;
      eachColumn(columns, state.from, state.to, (x, first, last) => {
        let most = -1;
        for (let p = first; p <= last; p++) {
          const level = of.rowOf[p] < 0 ? 255 : levels[of.rowOf[p]];
          if (level <= 254 && level > most) most = level;
        }
        const at = (x + 0.5) * width / columns, y = height - 5 - (height - 10) * (most / 254);
        if (most >= 0) drawing ? pen.lineTo(at, y) : pen.moveTo(at, y);
        drawing = most >= 0;
      });
      pen.stroke();
    });
  }

  const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  function drawAxis() {
    const area = sized($("axis"));
    if (!area) return;
    const { pen, width, height } = area, span = state.to - state.from;
    const between = STEPS.find((s) => (s / span) * width >= 76) || STEPS[STEPS.length - 1];
    pen.font = "11px system-ui, sans-serif"; pen.fillStyle = colours.quiet; pen.strokeStyle = colours.quiet; pen.lineWidth = 1;
    for (let k = Math.ceil((state.from - start) / between - EPS); k * between <= state.to - start + EPS; k++) {
      const x = Math.min(width - 0.5, Math.max(0.5, ((k * between + start - state.from) / span) * width));
      pen.beginPath(); pen.moveTo(x, height - 6); pen.lineTo(x, height); pen.stroke();
      const text = between < 1 ? clock(start + k * between) : clock(start + k * between).slice(0, -3);
      pen.textAlign = x < 24 ? "left" : x > width - 24 ? "right" : "center";
      pen.fillText(text, x, height - 9);
    }
    $("spanlabel").textContent = span < data.duration - EPS ? `${span.toFixed(span < 10 ? 1 : 0)} s shown` : "";
  }

  const LANES = 6;
  const lanes = faces.map((_, i) => i).sort((a, b) => faces[b].place.length - faces[a].place.length).slice(0, LANES).sort((a, b) => a - b);
  function drawOverview() {
    const area = sized($("overview"));
    if (!area) return;
    const { pen, width, height } = area, columns = Math.max(1, Math.floor(width));
    const kinds = new Uint8Array(columns);
    eachColumn(columns, start, end, (x, first, last) => { kinds[x] = columnKind(null, first, last); });
    pen.fillStyle = colours.card; pen.fillRect(0, 0, width, height);
    fillRuns(pen, kinds, NONE, hatched(pen), 0, height, width);
    const shown = lanes.includes(state.face) || state.face < 0 ? lanes : [...lanes.slice(0, LANES - 1), state.face];
    const each = (height - 6) / Math.max(1, shown.length);
    shown.forEach((which, lane) => {
      const seen = new Uint8Array(columns);
      eachColumn(columns, start, end, (x, first, last) => { seen[x] = columnKind(faces[which], first, last) === SEEN; });
      const thick = Math.min(10, each - 1);
      fillRuns(pen, seen, 1, which === state.face ? colours.accent : colours.heat1, 3 + each * (lane + 0.5) - thick / 2, thick, width);
    });
    if (state.to - state.from < data.duration - EPS) {
      pen.strokeStyle = colours.ink; pen.lineWidth = 2;
      const x0 = ((state.from - start) / data.duration) * width, x1 = ((state.to - start) / data.duration) * width;
      pen.strokeRect(Math.min(width - 4, Math.max(1, x0)), 1, Math.max(3, x1 - x0 - 1), height - 2);
    }
  }

  function drawBoxes() {
    const box = overlay.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    if (!box.width) return;
    overlay.width = Math.round(box.width * scale); overlay.height = Math.round(box.height * scale);
    const pen = overlay.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    if (!$("boxes").checked) return;
    const ratioX = box.width / data.width, ratioY = box.height / data.height;
    faces.forEach((of, i) => {
      const row = of.rowOf[state.place];
      if (row < 0) return;
      const [left, top, right, bottom] = of.box.subarray(4 * row, 4 * row + 4), chosen = i === state.face;
      const x = left * ratioX, y = top * ratioY, w = (right - left) * ratioX, h = (bottom - top) * ratioY;
      pen.lineWidth = chosen ? 6 : 4; pen.strokeStyle = "rgba(0,0,0,.55)"; pen.strokeRect(x, y, w, h);
      pen.lineWidth = chosen ? 3 : 1.5; pen.strokeStyle = chosen ? "#ffb27f" : "#ffffff"; pen.strokeRect(x, y, w, h);
      pen.font = `${chosen ? "600 " : ""}13px system-ui, sans-serif`;
      const text = chosen ? `face ${of.id} ✓` : `face ${of.id}`, wide = pen.measureText(text).width + 12;
      const labelX = Math.max(0, Math.min(x, box.width - wide)), labelY = y >= 20 ? y - 20 : y;
      pen.fillStyle = chosen ? "#ffb27f" : "rgba(255,255,255,.9)"; pen.fillRect(labelX, labelY, wide, 20);
      pen.fillStyle = "#1b1410"; pen.textAlign = "left"; pen.fillText(text, labelX + 6, labelY + 14);
    });
  }

  // ---- what changes with time ----------------------------------------------------------------------------
  function showTime() {
    const of = face(), row = of ? of.rowOf[state.place] : -1;
    options.forEach((option, unit) => {
      const level = row < 0 ? 255 : levelOf(of, unit, row), present = row >= 0 && presentIn(of, unit, row);
      option.classList.toggle("present", Boolean(present));
      option.querySelector("i").style.width = level > 254 ? "0" : `${(100 * level) / 254}%`;
      option.querySelector(".value").textContent = level > 254 ? "–" : (level / 254).toFixed(2).replace(/^0/, "");
      option.querySelector(".mark").textContent = row < 0 || units[unit].blank ? "" : present ? "●" : "○";
    });
    drawBoxes();
    if (units.length) {
      const words = told(state.unit, state.place).split(", ");
      $("nowname").textContent = unitName(state.unit);
      $("nowvalue").textContent = words.length > 1 ? words[0] : "–";
      const threshold = units[state.unit].threshold;
      $("nowwords").textContent = `${words[words.length - 1]}${threshold === null ? "" : `, threshold ${threshold.toFixed(2)}`}`;
    }
    if (!video) return;
    $("clock").textContent = `${clock(state.time)} / ${clock(end)} · frame ${frames[state.place]}`;
    const at = `${(100 * (state.time - state.from)) / (state.to - state.from)}%`;
    const within = state.time >= state.from && state.time <= state.to;
    for (const head of [$("playhead"), $("curvehead"), $("sideshead")].filter(Boolean)) { head.style.left = at; head.hidden = !within; }
    $("overviewhead").style.left = `${(100 * (state.time - start)) / data.duration}%`;
    const slider = $("lane");
    slider.setAttribute("aria-valuenow", (state.time - start).toFixed(3));
    if (units.length) slider.setAttribute("aria-valuetext", `${clock(state.time)}, frame ${frames[state.place]}, ${unitName(state.unit)}: ${told(state.unit, state.place)}`);
  }
  function showView() { if (video) { drawOverview(); drawAxis(); drawHeat(); drawCurve(); drawSides(); } }
  function showAll() { showView(); showTime(); }

  // ---- what a person does --------------------------------------------------------------------------------
  function moved(time) {
    state.time = Math.max(start, Math.min(time, end));
    state.place = placeAt(state.time);
    const span = state.to - state.from;
    if (span < data.duration - EPS && (state.time < state.from || state.time > state.to)) setView(state.time - 0.1 * span, span);
    else showTime();
  }
  function seek(time) {
    const inside = Math.max(start, Math.min(time, end - Math.min(0.001, step / 4)));
    if (video && video.readyState > 0) video.currentTime = inside;
    moved(inside);
  }
  const seekFrame = (place) => { // the middle of the time it is shown: no rounding leads to its neighbour
    const inside = Math.max(0, Math.min(place, numFrames - 1));
    if (video) video.pause();
    seek((seconds[inside] + endOf(inside)) / 2);
  };
  function setView(from, span) {
    const width = Math.max(Math.min(span, data.duration), Math.min(data.duration, 8 * step));
    state.from = Math.max(start, Math.min(from, end - width));
    state.to = state.from + width;
    showAll();
  }
  function zoom(factor, around = state.time) {
    const span = (state.to - state.from) * factor, share = (around - state.from) / (state.to - state.from);
    setView(around - Math.max(0, Math.min(1, share)) * span, span);
  }
  function chooseUnit(unit) {
    if (!units.length) return;
    state.unit = (unit + units.length) % units.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === state.unit)));
    $("units").setAttribute("aria-activedescendant", `unit${state.unit}`);
    showAll();
  }
  function chooseFace(which) {
    if (!faces.length) return;
    state.face = (which + faces.length) % faces.length;
    document.querySelectorAll("#faces input").forEach((input, i) => { input.checked = i === state.face; });
    document.querySelectorAll("[data-face]").forEach((part) => { part.hidden = Number(part.dataset.face) !== state.face; });
    showAll();
  }
  function episode(direction) { // to the first frame of the next or previous run in which the unit is present
    const of = face();
    if (!of) return;
    const present = (p) => p >= 0 && of.rowOf[p] >= 0 && presentIn(of, state.unit, of.rowOf[p]);
    for (let p = state.place + direction; p >= 0 && p < numFrames; p += direction)
      if (present(p) && !present(p - 1)) return seekFrame(p);
  }
  function toggle() { if (video) video.paused ? video.play().catch(() => {}) : video.pause(); }

  const timeAt = (event, element, from, to) => {
    const box = element.getBoundingClientRect();
    return from + Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * (to - from);
  };
  function draggable(element, range, onDown) {
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      element.setPointerCapture(event.pointerId);
      if (onDown) onDown(event);
      seek(timeAt(event, element, ...range()));
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) seek(timeAt(event, element, ...range()));
    });
  }
  const unitAt = (event) => Math.min(units.length - 1, Math.max(0, Math.floor((event.clientY - $("heat").getBoundingClientRect().top) / ROW)));

  const KEYS = {
    " ": toggle, "k": toggle, ",": () => seekFrame(state.place - 1), ".": () => seekFrame(state.place + 1),
    "ArrowLeft": (e) => seek(state.time - (e.shiftKey ? 10 : 1)), "ArrowRight": (e) => seek(state.time + (e.shiftKey ? 10 : 1)),
    "Home": () => seekFrame(0), "End": () => seekFrame(numFrames - 1),
    "ArrowUp": () => chooseUnit(state.unit - 1), "ArrowDown": () => chooseUnit(state.unit + 1),
    "f": () => chooseFace(state.face + 1), "n": () => episode(1), "p": () => episode(-1),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => setView(start, data.duration),
  };
  const FOR_STILL = ["ArrowUp", "ArrowDown", "f"];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    const on = event.target.closest ? event.target.closest("input, select, button, summary, a") : null;
    if (on && (on.matches("select, input[type=radio]") ? /^(Arrow| |Home|End)/.test(event.key) : event.key === " ")) return;
    if (!video && !FOR_STILL.includes(event.key)) return;
    event.preventDefault();
    KEYS[event.key](event);
  });

  options.forEach((option, unit) => option.addEventListener("click", () => chooseUnit(unit)));
  document.querySelectorAll("#faces input").forEach((input, i) => input.addEventListener("change", () => chooseFace(i)));
  $("boxes").addEventListener("change", drawBoxes);

  function startVideo() {
    const shape = "M3 1l11 7-11 7z", bars = "M3 1h4v14H3zM9 1h4v14H9z";
    const state_of_play = () => {
      $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
      $("playshape").setAttribute("d", video.paused ? shape : bars);
    };
    video.addEventListener("play", () => { state_of_play(); follow(); });
    video.addEventListener("pause", state_of_play);
    video.addEventListener("ended", state_of_play);
    video.addEventListener("loadedmetadata", () => { $("missing").hidden = true; if (state.time > start) video.currentTime = state.time; });
    video.addEventListener("error", () => { $("missing").hidden = false; });
    if (video.error) $("missing").hidden = false; // it failed before anybody listened
    video.addEventListener("click", toggle);
    let next = 0; // one pending call at a time: of the frame shown where the browser tells it, else of the screen
    function follow() {
      const again = (time) => { if (!video.paused && !video.ended) { moved(time); follow(); } };
      if (next) return;
      const call = (time) => { next = 0; again(time); };
      if (video.requestVideoFrameCallback) next = video.requestVideoFrameCallback((_, about) => call(about.mediaTime));
      else next = requestAnimationFrame(() => call(video.currentTime));
    }
    $("choose").addEventListener("change", (event) => { if (event.target.files[0]) video.src = URL.createObjectURL(event.target.files[0]); });
    $("play").addEventListener("click", toggle);
    $("back").addEventListener("click", () => seekFrame(state.place - 1));
    $("on").addEventListener("click", () => seekFrame(state.place + 1));
    $("next").addEventListener("click", () => episode(1));
    $("previous").addEventListener("click", () => episode(-1));
    $("nearer").addEventListener("click", () => zoom(0.5));
    $("farther").addEventListener("click", () => zoom(2));
    $("whole").addEventListener("click", () => setView(start, data.duration));
    $("speed").addEventListener("change", (event) => { video.playbackRate = Number(event.target.value); });
    $("relative").addEventListener("change", () => { readShades(); drawHeat(); });
    $("sound").addEventListener("change", (event) => { video.muted = !event.target.checked; });
    draggable($("lane"), () => [state.from, state.to], (event) => chooseUnit(unitAt(event)));
    draggable($("curvelane"), () => [state.from, state.to]);
    if ($("sideslane")) draggable($("sideslane"), () => [state.from, state.to]);
    draggable($("overviewlane"), () => [start, end]);
    for (const lane of [$("lane"), $("curvelane")]) {
      lane.addEventListener("pointermove", (event) => {
        const time = timeAt(event, lane, state.from, state.to), unit = lane === $("lane") ? unitAt(event) : state.unit;
        if (units.length) $("hover").textContent = `${clock(time)} · frame ${frames[placeAt(time)]} · ${unitName(unit)}: ${told(unit, placeAt(time))}`;
      });
      lane.addEventListener("pointerleave", () => { $("hover").textContent = "\u00a0"; });
      lane.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event, lane, state.from, state.to));
      }, { passive: false });
    }
    $("lane").setAttribute("aria-valuemax", data.duration.toFixed(3));
  }

  document.querySelectorAll("[data-seek]").forEach((button) => button.addEventListener("click", () => {
    const unit = units.findIndex(({ column }) => column === button.dataset.unit);
    if (unit >= 0) chooseUnit(unit);
    if (video) video.pause();
    seek(Number(button.dataset.seek) - data.offset);
    $("screen").scrollIntoView({ block: "nearest" });
  }));

  function fitScreen() { // as wide as there is room for, but never taller than half the window
    const tallest = Math.max(220, Math.min(480, window.innerHeight * 0.46)), screen = $("screen");
    screen.style.aspectRatio = `${data.width} / ${data.height}`;
    screen.style.maxWidth = `${Math.round((tallest * data.width) / data.height)}px`;
  }

  options.forEach((option, unit) => {
    if (units[unit].threshold === null) return;
    const tick = option.querySelector("u");
    tick.hidden = false;
    tick.style.left = `calc(${100 * units[unit].threshold}% - 1px)`;
  });
  if (matchMedia("(max-width: 1000px)").matches) $("keys").open = false;
  readColours();
  readShades();
  fitScreen();
  if (video) startVideo();
  chooseFace(Math.max(0, state.face));
  chooseUnit(0);
  new ResizeObserver(() => { fitScreen(); showAll(); }).observe($("tracks"));
  new ResizeObserver(drawBoxes).observe($("screen"));
  if (still) still.addEventListener("load", drawBoxes);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); showAll(); });
})();
