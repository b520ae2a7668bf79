// The canvas of a notebook. The model keeps the strokes as {colour, width, points: [[x, y], ...]}, in
// pixels of the picture, whether a hand or code has drawn them. `draw` is drawn on the picture.
const LEAST_SHOWN = 320;
const STYLE = `
  .sdedit-canvas { display: inline-block; max-width: 100%; font: 13px system-ui, sans-serif; }
  .sdedit-canvas canvas { display: block; max-width: 100%; touch-action: none; cursor: crosshair;
    border: 1px solid #8888; image-rendering: pixelated; }
  .sdedit-canvas div { display: flex; flex-wrap: wrap; gap: 4px; align-items: center;
    margin-top: 6px; }
  .sdedit-canvas button { min-width: 28px; min-height: 28px; border: 1px solid #8888;
    border-radius: 4px; cursor: pointer; }
  .sdedit-canvas button[aria-pressed="true"] { outline: 3px solid #4b8bf4; }
  .sdedit-canvas input[type="color"] { width: 40px; height: 28px; padding: 0; }`;

function line(context, {colour, width, points}) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (const [x, y] of points) context.lineTo(x, y);
  const [[x, y]] = points;
  if (points.every(([u, v]) => u === x && v === y)) context.lineTo(x, y + 0.01); // a dot is drawn
  context.stroke();
}

function button(text, title, act) {
  const made = document.createElement("button");
  Object.assign(made, {type: "button", textContent: text, title, onclick: act});
  made.setAttribute("aria-label", title);
  return made;
}

function input(type, title, values) {
  const made = Object.assign(document.createElement("input"), {type, title, ...values});
  made.setAttribute("aria-label", title);
  return made;
}

function render({model, el}) {
  const [height, width] = model.get("size");
  const palette = model.get("palette");
  const root = document.createElement("div"), style = document.createElement("style");
  root.className = "sdedit-canvas";
  style.textContent = STYLE;
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  canvas.style.width = Math.max(width, LEAST_SHOWN) + "px";
  const context = canvas.getContext("2d");
  const picture = new Image();
  let drawn = null;

  function show() {
    context.drawImage(picture, 0, 0, width, height);
    for (const stroke of [...model.get("strokes"), ...(drawn ? [drawn] : [])]) line(context, stroke);
  }

  function set(strokes) {
    model.set("strokes", strokes);
    model.save_changes();
    show();
  }

  const own = input("color", "Colour", {value: palette[0]});
  const size = input("range", "Width", {min: 1, max: Math.ceil(width / 3), value: width / 10});
  const colours = document.createElement("div"), tools = document.createElement("div");
  function pick(colour) {
    own.value = colour;
    for (const one of colours.querySelectorAll("button"))
      one.setAttribute("aria-pressed", one.title === colour);
  }
  for (const colour of palette) {
    const one = button("", colour, () => pick(colour));
    one.style.background = colour;
    colours.append(one);
  }
  own.oninput = () => pick(own.value);
  colours.append(own);
  tools.append(
    size,
    button("Undo", "Undo", () => set(model.get("strokes").slice(0, -1))),
    button("Clear", "Clear", () => set([])),
  );

  function at(event) {
    const box = canvas.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [share[0] * width, share[1] * height].map((n) => Math.round(n * 10) / 10);
  }
  canvas.onpointerdown = (event) => {
    if (event.button || drawn) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    drawn = {colour: own.value, width: Number(size.value), points: [at(event)]};
    show();
  };
  canvas.onpointermove = (event) => {
    if (!drawn) return;
    drawn.points.push(at(event));
    show();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    const stroke = drawn;
    drawn = null;
    if (stroke) set([...model.get("strokes"), stroke]);
  };

  picture.onload = show;
  picture.src = model.get("picture");
  model.on("change:strokes", show);
  pick(palette[0]);
  root.append(style, canvas, colours, tools);
  el.append(root);
  return () => model.off("change:strokes", show);
}

export default {render};
