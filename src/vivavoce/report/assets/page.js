"use strict";
// Everything here is an addition: without it the page shows the same plots, tables and words.

function themeButton() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = remembered();
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  if (stored) document.documentElement.dataset.theme = stored;
  button.hidden = false;
  show();
  system.addEventListener("change", show);
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("viva-theme", theme); } catch { /* a file may be refused storage: the choice lasts for the visit */ }
    show();
  });
}

function remembered() {
  try { return localStorage.getItem("viva-theme"); } catch { return null; }
}

function copyButtons() {
  for (const button of document.querySelectorAll(".copy")) {
    const code = button.parentElement.querySelector("code");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copied(code);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch { // no clipboard for files in some browsers: select the text instead
    getSelection().selectAllChildren(code);
    return false;
  }
}

// A tooltip over a canvas: `describe(x, y)` takes a place in [0, 1]² and gives { x, lines } or null.
function tooltip(canvas, describe, move) {
  const tip = add(canvas, "div", "tip");
  const cross = add(canvas, "div", "cross");
  const spoken = add(canvas.parentElement, "div", "quiet");
  spoken.setAttribute("aria-live", "polite");
  let place = null;
  const hide = () => { tip.hidden = cross.hidden = true; };
  const show = (x, y) => {
    const found = describe(x, y);
    if (!found) return hide();
    tip.replaceChildren(...found.lines.map(line));
    tip.hidden = cross.hidden = false;
    cross.style.left = 100 * found.x + "%";
    const room = canvas.clientWidth - tip.offsetWidth;
    const left = found.x * canvas.clientWidth + (found.x > 0.5 ? -tip.offsetWidth - 12 : 12);
    tip.style.left = Math.max(Math.min(left, room), 0) + "px";
    tip.style.top = Math.max(y * canvas.clientHeight - tip.offsetHeight - 8, 0) + "px";
  };
  hide();
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    show((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("blur", hide);
  canvas.tabIndex = 0;
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const next = move(place, event.key);
    if (!next) return;
    event.preventDefault();
    place = next;
    show(place.x, place.y);
    spoken.textContent = [...tip.children].map((child) => child.textContent).join(", ");
  });
}

function add(parent, name, className) {
  const element = document.createElement(name);
  element.className = className;
  return parent.appendChild(element);
}

function line(text) {
  const element = document.createElement("div");
  element.textContent = text;
  return element;
}

const clamp = (value) => Math.min(Math.max(value, 0), 1);

function curves(canvas) {
  const data = JSON.parse(canvas.dataset.curves);
  const across = (step) => (step - data.first) / (data.last - data.first);
  const written = (step) => data.across // a plot over anything but steps: a name, and numbers that need not be whole
    ? data.across + " " + Number((data.log ? 10 ** step : step).toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 })
    : "step " + step.toLocaleString("en");
  const describe = (x) => {
    const step = data.first + clamp(x) * (data.last - data.first);
    const slack = (data.last - data.first) / 50;
    const near = data.curves
      .filter(({ steps }) => step >= steps[0] - slack && step <= steps[steps.length - 1] + slack)
      .map((curve) => [curve, nearest(curve.steps, step)]);
    if (!near.length) return null;
    const best = near.map(([curve, row]) => curve.steps[row]).reduce((a, b) => (Math.abs(a - step) <= Math.abs(b - step) ? a : b));
    const at = (own) => (Math.abs(own - best) > slack ? " (" + written(own) + ")" : "");
    const lines = near.map(([curve, row]) => curve.name + ": " + curve.values[row] + at(curve.steps[row]));
    return { x: clamp(across(best)), lines: [written(best), ...lines] };
  };
  const jump = 1 / 50;
  tooltip(canvas, describe, (place, key) => {
    const from = place ? place.x : 0;
    const to = { ArrowLeft: from - jump, ArrowRight: place ? from + jump : 0, Home: 0, End: 1 }[key];
    return to === undefined ? null : { x: clamp(to), y: 0.3 };
  });
}

function nearest(steps, wanted) {
  let low = 0, high = steps.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= wanted) low = middle; else high = middle;
  }
  return wanted - steps[low] <= steps[high] - wanted ? low : high;
}

function map(canvas) {
  const data = JSON.parse(canvas.dataset.map);
  const cells = Uint8Array.from(atob(data.cells), (letter) => letter.charCodeAt(0));
  const width = data.edges.length, height = data.rows.length;
  const describe = (x, y) => {
    const column = Math.min(Math.floor(clamp(x) * width), width - 1);
    const row = Math.min(Math.floor(clamp(y) * height), height - 1);
    const first = data.edges[column];
    const last = column + 1 < width ? data.edges[column + 1] - 1 : data.last;
    const steps = first >= last ? "step " + first : "steps " + first + "–" + last;
    return { x: (column + 0.5) / width, lines: [data.rows[row], steps, value(cells[row * width + column])] };
  };
  const value = (cell) => {
    if (cell >= data.levels) return data.marks[cell];
    const power = data.low + (cell / (data.levels - 1)) * (data.high - data.low);
    return data.unit + " about " + Number((10 ** power).toPrecision(2)).toString();
  };
  tooltip(canvas, describe, (place, key) => {
    if (!place) return key.startsWith("Arrow") ? { x: 0.5 / width, y: 0.5 / height } : null;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const by = moves[key];
    return by ? { x: clamp(place.x + by[0] / width), y: clamp(place.y + by[1] / height) } : null;
  });
}

themeButton();
copyButtons();
document.querySelectorAll("[data-curves]").forEach(curves);
document.querySelectorAll("[data-map]").forEach(map);
