"use strict";

/* Charts: the values at the pointer, or at a cursor that the arrow keys move. */
const NS = "http" + "://www.w3.org/2000/svg"; // a name, which nothing is loaded from

const text = value => value === null ? "not finite"
  : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? value.toExponential(2)
  : String(+value.toPrecision(5));

for (const chart of document.querySelectorAll(".chart")) {
  const source = chart.querySelector("script[type='application/json']");
  if (!source) continue;
  const { x, y, log, box, lines } = JSON.parse(source.textContent);
  const svg = chart.querySelector("svg"), reading = chart.querySelector("output");
  const [left, right, bottom, top] = box;
  const across = step => left + (step - x[0]) / (x[1] - x[0]) * (right - left);
  const level = log ? Math.log10 : value => value;
  const up = value => bottom - (level(value) - level(y[0])) / (level(y[1]) - level(y[0])) * (bottom - top);
  const steps = [...new Set(lines.flatMap(line => line.points.map(point => point[0])))].sort((a, b) => a - b);
  const marks = document.createElementNS(NS, "g");
  svg.append(marks);
  let at = -1;

  const nearest = step => {
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1; else high = middle;
    }
    return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
  };
  const add = (name, attributes) => {
    const element = document.createElementNS(NS, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    marks.append(element);
  };
  const show = number => {
    at = Math.max(0, Math.min(steps.length - 1, number));
    const step = steps[at], said = ["step " + step.toLocaleString("en")];
    marks.replaceChildren();
    add("path", { class: "cursor", d: `M${across(step)} ${top}V${bottom}` });
    lines.forEach((line, order) => {
      const point = line.points.find(point => point[0] === step);
      if (!point) return;
      said.push(line.name + " " + text(point[1]));
      if (point[1] !== null) add("circle", { class: `dot c${order % 8}`, cx: across(step), cy: up(point[1]), r: 3 });
    });
    reading.textContent = said.join("\n");
  };
  const hide = () => { marks.replaceChildren(); reading.textContent = ""; };

  svg.addEventListener("pointermove", event => {
    const place = svg.getBoundingClientRect();
    const inside = (event.clientX - place.left) / place.width * svg.viewBox.baseVal.width;
    show(nearest(x[0] + (inside - left) / (right - left) * (x[1] - x[0])));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", event => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 };
    if (event.key === "Escape") return hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(at < 0 && event.key === "ArrowLeft" ? steps.length - 1 : moves[event.key]);
  });
}

/* Pictures: two views over each other, divided where the slider stands; zoom and place are the same in both. */
for (const article of document.querySelectorAll(".compare")) {
  const stage = article.querySelector(".stage"), panes = [...stage.querySelectorAll(".pane")];
  const first = panes[0].querySelector("img"), title = article.querySelector("h3").textContent;
  const labels = panes.map(pane => pane.querySelector("figcaption").firstChild.textContent);
  const make = (name, properties, parent) => {
    const element = Object.assign(document.createElement(name), properties);
    parent.append(element);
    return element;
  };
  const above = make("div", { className: "bar" }, article), below = make("div", { className: "bar" }, article);
  stage.before(above);
  stage.after(below);
  const result = Math.max(0, labels.findIndex(label => label.startsWith("result")));
  const chosen = {};
  for (const [side, initial] of [["left", 0], ["right", result]]) {
    chosen[side] = make("select", { className: side }, above);
    chosen[side].setAttribute("aria-label", `${title}: ${side} view`);
    labels.forEach((text, value) => make("option", { textContent: text, value }, chosen[side]));
    chosen[side].value = initial;
    chosen[side].addEventListener("change", place);
  }
  const divide = make("input", { type: "range", className: "divide", min: 0, max: 100, step: 0.5, value: 50 }, below);
  divide.setAttribute("aria-label", `${title}: where the left view ends and the right one begins`);
  divide.addEventListener("input", place);
  const zoomed = { scale: 1, x: 0, y: 0 };
  const button = (textContent, label, click) => {
    const element = make("button", { type: "button", textContent, title: label }, below);
    element.setAttribute("aria-label", `${title}: ${label}`);
    element.addEventListener("click", click);
  };
  button("−", "zoom out", () => zoom(zoomed.scale / 2));
  button("+", "zoom in", () => zoom(zoomed.scale * 2));
  button("1:1", "show the whole picture", () => zoom(1));

  function place() {
    panes.forEach((pane, number) => {
      pane.classList.toggle("left", number == chosen.left.value && chosen.left.value !== chosen.right.value);
      pane.classList.toggle("right", number == chosen.right.value);
      pane.querySelector("img").style.transform = `translate(${zoomed.x}px, ${zoomed.y}px) scale(${zoomed.scale})`;
    });
    stage.style.setProperty("--at", (chosen.left.value === chosen.right.value ? 0 : divide.value) + "%");
  }
  function zoom(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    scale = Math.max(1, Math.min(32, scale));
    const factor = scale / zoomed.scale;
    zoomed.scale = scale;
    move(x - (x - zoomed.x) * factor, y - (y - zoomed.y) * factor);
  }
  function move(x, y) {
    zoomed.x = Math.min(0, Math.max(stage.clientWidth * (1 - zoomed.scale), x));
    zoomed.y = Math.min(0, Math.max(stage.clientHeight * (1 - zoomed.scale), y));
    place();
  }
  stage.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey && zoomed.scale === 1 && event.deltaY > 0) return; // the page scrolls on
    event.preventDefault();
    const at = stage.getBoundingClientRect();
    zoom(zoomed.scale * 2 ** (-Math.sign(event.deltaY) / 2), event.clientX - at.left, event.clientY - at.top);
  }, { passive: false });
  stage.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    const from = { x: event.clientX - zoomed.x, y: event.clientY - zoomed.y };
    const divides = zoomed.scale === 1; // a whole picture has no other place: the pointer moves the division
    const follow = event => {
      if (!divides) return move(event.clientX - from.x, event.clientY - from.y);
      const at = stage.getBoundingClientRect();
      divide.value = 100 * (event.clientX - at.left) / at.width;
      place();
    };
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("moving");
    follow(event);
    stage.addEventListener("pointermove", follow);
    const end = () => {
      stage.classList.remove("moving");
      stage.removeEventListener("pointermove", follow);
    };
    stage.addEventListener("pointerup", end, { once: true });
    stage.addEventListener("pointercancel", end, { once: true });
  });
  article.classList.add("live");
  const [width, height] = ["width", "height"].map(name => Number(first.getAttribute(name)));
  stage.style.aspectRatio = `${width} / ${height}`;
  const wide = width * Math.max(1, Math.floor(520 / width)) + "px"; // a whole number of the screen's pixels for each
  Object.assign(article.style, { flexBasis: wide, maxWidth: wide });
  addEventListener("resize", () => move(zoomed.x, zoomed.y));
  place();
}
