// The canvas: layers, tools, undo, and the pictures that it sends while one draws.
// Gradio calls this with element, props, trigger and watch. Events: "live" "file".
const part = (name) => element.querySelector('[data-part="' + name + '"]');
const layer = (name) => element.querySelector('[data-layer="' + name + '"]');
const stage = part("stage"), cursor = part("cursor"), slider = part("size");
const canvases = ["picture", "patch", "paint", "mask"].map(layer);
const [picture, patch, paint, mask] = canvases;
const MOST_UNDO = 40, LEAST_WAIT = 40, LONGEST_WAIT = 20000;
const MASK_COLOUR = "#ff2d78";

const state = {
  tool: "brush", drawn: "brush", colour: "#c81e1e", sizes: {brush: 24, mask: 36},
  picture: null, patch: null, place: null, image: null,
  undo: [], redo: [], touched: false, last: null, pointer: null,
  number: 0, waiting: 0, dirty: false, sent: 0,
};

// --- size and layers ------------------------------------------------------------------------

function resize() {
  const [h, w] = props.size;
  if (paint.width === w && paint.height === h) return false;
  for (const one of canvases) {
    const was = Object.assign(document.createElement("canvas"), {width: one.width, height: one.height});
    if (one.width && one.height) was.getContext("2d").drawImage(one, 0, 0);
    one.width = w; one.height = h;
    if (was.width && was.height) context(one).drawImage(was, 0, 0, w, h);
  }
  if (state.picture) state.picture = picture.toDataURL("image/png");
  drawPatch();
  stage.style.aspectRatio = w + " / " + h;
  state.undo = []; state.redo = [];
  return true;
}

const context = (canvas) => canvas.getContext("2d", {willReadFrequently: true});

function wipe(canvas) { context(canvas).clearRect(0, 0, canvas.width, canvas.height); }

function empty(canvas) {
  const words = new Uint32Array(context(canvas).getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return !words.some((word) => word);
}

function load(url) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("a layer cannot be shown"));
    image.src = url;
  });
}

async function put(canvas, url) {
  wipe(canvas);
  if (url) context(canvas).drawImage(await load(url), 0, 0, canvas.width, canvas.height);
}

function drawPatch() {
  wipe(patch);
  if (!state.image) return;
  const [x, y, share] = state.place, w = share * patch.width;
  const h = w * state.image.height / state.image.width;
  context(patch).drawImage(state.image, x * patch.width - w / 2, y * patch.height - h / 2, w, h);
}

// --- undo -----------------------------------------------------------------------------------

function snapshot() {
  const all = (canvas) => context(canvas).getImageData(0, 0, canvas.width, canvas.height);
  return {picture: state.picture, patch: state.patch, place: state.place, image: state.image,
    paint: all(paint), mask: all(mask)};
}

function remember() {
  state.undo.push(snapshot());
  if (state.undo.length > MOST_UNDO) state.undo.shift();
  state.redo = []; state.touched = true;
  buttons();
}

async function restore(from, to) {
  if (!from.length) return;
  to.push(snapshot());
  const was = from.pop();
  for (const name of ["picture", "patch", "place", "image"]) state[name] = was[name];
  context(paint).putImageData(was.paint, 0, 0);
  context(mask).putImageData(was.mask, 0, 0);
  await put(picture, state.picture);
  drawPatch();
  buttons();
  send(true);
}

function clear() {
  remember();
  for (const one of canvases) wipe(one);
  for (const name of ["picture", "patch", "place", "image"]) state[name] = null;
  buttons();
  send(true);
}

// --- sending: one picture at a time while one draws, the last one at once --------------------

function value() {
  const url = (canvas) => empty(canvas) ? null : canvas.toDataURL("image/png");
  return JSON.stringify({picture: state.picture, paint: url(paint), mask: url(mask),
    patch: state.patch, place: state.place, number: state.number,
    touched: state.touched});
}

function send(final) {
  const now = performance.now(), held = state.waiting && now - state.sent < LONGEST_WAIT;
  if (!final && (held || now - state.sent < LEAST_WAIT)) {
    if (!state.dirty && !held) setTimeout(() => state.dirty && send(false), LEAST_WAIT);
    state.dirty = true;
    return;
  }
  state.number += 1; state.waiting = state.number; state.dirty = false; state.sent = now;
  props.value = value();
  element.dataset.sent = state.number;
  window.sdedit = {number: state.number, sent: now, encoded: performance.now()};
  trigger("live", {number: state.number});
  window.dispatchEvent(new CustomEvent("sdedit-sent"));
}

watch("answered", () => {
  if (props.answered < state.waiting) return;
  state.waiting = 0;
  window.dispatchEvent(new CustomEvent("sdedit-answered"));
  if (state.dirty) send(false);
});

// --- drawing --------------------------------------------------------------------------------

function at(event) {
  const box = stage.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function width(event) {
  const pen = event.pointerType === "pen" && event.pressure;
  return state.sizes[state.drawn] * (pen ? 0.4 + 1.2 * event.pressure : 1);
}

function stroke(event) {
  const canvas = state.drawn === "mask" ? mask : paint, to = context(canvas), spot = at(event);
  const [x, y] = [spot[0] * canvas.width, spot[1] * canvas.height], [u, v] = state.last || [x, y];
  to.globalCompositeOperation = state.tool === "eraser" ? "destination-out" : "source-over";
  to.strokeStyle = state.drawn === "mask" ? MASK_COLOUR : state.colour;
  to.lineWidth = width(event); to.lineCap = to.lineJoin = "round";
  to.beginPath(); to.moveTo(u, v); to.lineTo(x, y + (x === u && y === v ? 0.01 : 0)); to.stroke();
  state.last = [x, y];
}

function drag(event) {
  const [x, y] = at(event), [u, v] = state.last;
  const near = (n) => Math.min(Math.max(n, -0.5), 1.5);
  state.place = [near(state.place[0] + x - u), near(state.place[1] + y - v), state.place[2]];
  state.last = [x, y];
  drawPatch();
}

function moved(event) {
  if (state.tool === "patch") { drag(event); return; }
  const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of all.length ? all : [event]) stroke(one);
}

stage.addEventListener("pointerdown", (event) => {
  if (state.pointer !== null || event.button || !state.tool) return;
  if (state.tool === "patch" && !state.image) { choose("patch"); return; }
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  state.pointer = event.pointerId;
  remember();
  state.last = state.tool === "patch" ? at(event) : null;
  if (state.tool !== "patch") stroke(event);
  send(false);
});
stage.addEventListener("pointermove", (event) => {
  hover(event);
  if (event.pointerId !== state.pointer) return;
  moved(event);
  send(false);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => {
  if (event.pointerId !== state.pointer) return;
  state.pointer = null;
  send(true);
});
stage.addEventListener("pointerleave", () => { cursor.style.display = "none"; });

function hover(event) {
  const [x, y] = at(event), size = 100 * state.sizes[state.drawn] / paint.width;
  const drawing = state.tool && state.tool !== "patch" && event.pointerType !== "touch";
  cursor.style.display = drawing ? "block" : "none";
  cursor.style.left = 100 * x + "%"; cursor.style.top = 100 * y + "%";
  cursor.style.width = size + "%";
}

function scale(size, final) {
  if (!state.place) return;
  state.place = [state.place[0], state.place[1], Math.min(Math.max(size, 0.02), 2)];
  drawPatch();
  send(final);
}

stage.addEventListener("wheel", (event) => {
  if (state.tool !== "patch" || !state.place) return;
  event.preventDefault();
  scale(state.place[2] * Math.exp(-event.deltaY / 600), false);
  buttons();
}, {passive: false});

// --- tools ----------------------------------------------------------------------------------

function choose(tool) {
  state.tool = tool;
  if (tool === "brush" || tool === "mask") state.drawn = tool;
  if (tool === "patch" && !state.image) act("patch");
  buttons();
}

function buttons() {
  for (const button of element.querySelectorAll("[data-tool]")) {
    const name = button.dataset.tool;
    const drawing = props.tools.includes("brush") || props.tools.includes("mask");
    button.hidden = name === "eraser" ? !drawing : !props.tools.includes(name);
    button.setAttribute("aria-pressed", name === state.tool);
  }
  const doing = (name) => element.querySelector('[data-do="' + name + '"]');
  doing("undo").disabled = !state.undo.length;
  doing("redo").disabled = !state.redo.length;
  doing("patch").hidden = !props.tools.includes("patch");
  stage.dataset.using = state.tool;
  part("colours").hidden = !props.tools.includes("brush");
  patch.hidden = !props.tools.includes("patch");
  mask.hidden = !props.tools.includes("mask");
  slider.value = state.tool === "patch" ? 96 * (state.place ? state.place[2] : 0.5)
    : state.sizes[state.drawn] || 24;
}

let shownColours = "";

function colours() {
  const row = part("colours"), given = props.palette.join();
  if (given === shownColours) return;
  shownColours = given;
  row.replaceChildren();
  for (const colour of props.palette) {
    const one = document.createElement("button");
    one.type = "button"; one.className = "sd-colour"; one.title = colour;
    one.style.background = colour;
    one.setAttribute("aria-label", "Colour " + colour);
    one.addEventListener("click", () => pick(colour));
    row.append(one);
  }
  const own = document.createElement("input");
  own.type = "color"; own.title = "Another colour"; own.value = state.colour;
  own.addEventListener("input", () => pick(own.value));
  row.append(own);
  pick(props.palette[Math.floor(props.palette.length / 2)] || state.colour);
}

function pick(colour) {
  state.colour = colour;
  if (state.tool !== "brush" && props.tools.includes("brush")) choose("brush");
  for (const one of element.querySelectorAll(".sd-colour"))
    one.setAttribute("aria-pressed", one.title === colour);
  const own = part("colours").querySelector("input");
  if (own) own.value = colour;
}

function resizeBrush(size) {
  if (state.tool === "patch") { scale(size / 96, true); return; }
  if (state.drawn in state.sizes) state.sizes[state.drawn] = Math.min(Math.max(size, 2), 96);
  buttons();
}

slider.addEventListener("input", () => {
  if (state.tool === "patch") scale(slider.value / 96, false);
  else state.sizes[state.drawn] = Number(slider.value);
});
slider.addEventListener("change", () => { if (state.tool === "patch") send(true); });

// --- files ----------------------------------------------------------------------------------

let opens = "picture";

function act(name) {
  if (name === "undo") restore(state.undo, state.redo);
  if (name === "redo") restore(state.redo, state.undo);
  if (name === "clear") clear();
  if (name === "open" || name === "patch") {
    opens = name === "open" ? "picture" : "patch";
    part("file").value = "";
    part("file").click();
  }
}

async function read(file, as) {
  if (file.size > props.most_bytes) { trigger("file", {as, data: null}); return; }
  const bytes = new Uint8Array(await file.arrayBuffer()), pieces = [];
  for (let i = 0; i < bytes.length; i += 32768)
    pieces.push(String.fromCharCode(...bytes.subarray(i, i + 32768)));
  trigger("file", {as, data: btoa(pieces.join(""))});
}

part("file").addEventListener("change", (event) => {
  if (event.target.files.length) read(event.target.files[0], opens);
});
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  if (name === "drop" && event.dataTransfer.files.length)
    read(event.dataTransfer.files[0], state.tool === "patch" ? "patch" : "picture");
});

// --- what Python shows ----------------------------------------------------------------------

async function show() {
  let given = {};
  try { given = JSON.parse(props.value || "{}"); } catch { return; }
  if (!given.show) return;
  resize();
  if (given.undo) remember(); else { state.undo = []; state.redo = []; }
  state.touched = given.touched;
  const {picture: below, patch: laid, place} = given.show;
  await put(picture, below); await put(paint, given.show.paint); await put(mask, given.show.mask);
  state.picture = below || null; state.patch = laid || null; state.place = place || null;
  state.image = laid ? await load(laid) : null;
  if (laid) state.tool = "patch";
  drawPatch();
  buttons();
  if (given.edit) send(true); else props.value = value();
}

watch("value", show);
watch("size", () => { if (resize()) send(true); });
watch("again", () => { if (props.again) { resize(); send(true); } });
watch("palette", colours);
watch("tools", () => {
  const tools = props.tools.filter((name) => name !== "patch" || state.image);
  if (!tools.includes(state.drawn)) state.drawn = tools[0] || "";
  if (state.tool !== "eraser" && !props.tools.includes(state.tool)) state.tool = tools[0] || "";
  buttons();
});

for (const button of element.querySelectorAll("[data-tool]"))
  button.addEventListener("click", () => choose(button.dataset.tool));
for (const button of element.querySelectorAll("[data-do]"))
  button.addEventListener("click", () => act(button.dataset.do));

// --- keys -----------------------------------------------------------------------------------

const key = (tool) => element.querySelector('[data-tool="' + tool + '"]:not([hidden])')?.click();
const press = (id) => document.getElementById(id)?.click();
const KEYS = {
  b: () => key("brush"), e: () => key("eraser"), m: () => key("mask"), p: () => key("patch"),
  o: () => act("open"), Delete: () => act("clear"),
  "[": () => resizeBrush(state.sizes[state.drawn] / 1.25),
  "]": () => resizeBrush(state.sizes[state.drawn] * 1.25), Escape: () => press("cancel"),
};

window.addEventListener("keydown", (event) => {
  const ctrl = event.ctrlKey || event.metaKey, name = event.key;
  if (ctrl && name === "Enter") { press("finish"); return; }
  if (event.target.closest("textarea, select, [contenteditable], input:not([type=range])")) return;
  if (ctrl && name.toLowerCase() === "z") act(event.shiftKey ? "redo" : "undo");
  else if (ctrl && name.toLowerCase() === "y") act("redo");
  else if (ctrl || event.altKey) return;
  else if (/^[1-9]$/.test(name) && props.palette[name - 1]) pick(props.palette[name - 1]);
  else if (KEYS[name]) KEYS[name]();
  else return;
  event.preventDefault();
});

resize();
colours();
buttons();
show();
