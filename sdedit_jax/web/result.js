// The result: the slider from before to after, the samples, and the download.
// The value is JSON: number, before, pictures [[url, name]], line, progress, plain; with keep, what
// it does not have is that of the last result that was finished, not of a preview.
const part = (name) => element.querySelector('[data-part="' + name + '"]');
const after = part("after"), before = part("before"), compare = part("compare");
const SOON = 1500; // milliseconds after which the line says that an edit is under way
let given = {pictures: []}, finished = given, chosen = 0, newest = 0, number = 0, late = 0;

async function put(image, url) {
  image.hidden = !url;
  if (!url) return;
  image.src = url;
  await image.decode().catch(() => {});
}

function uncover() {
  const share = Number(compare.value);
  before.style.clipPath = "inset(0 0 0 " + share + "%)";
}

function samples() {
  const row = part("samples");
  row.replaceChildren();
  row.hidden = given.pictures.length < 2;
  given.pictures.forEach(([url], i) => {
    const one = document.createElement("button"), image = document.createElement("img");
    one.type = "button"; one.title = "Sample " + i;
    one.setAttribute("aria-pressed", i === chosen);
    image.src = url; image.alt = "Sample " + i;
    one.append(image);
    one.addEventListener("click", () => { chosen = i; put(after, url); samples(); });
    row.append(one);
  });
}

async function show() {
  let made = {};
  try { made = JSON.parse(props.value || "{}"); } catch { return; }
  if (made.number < number) return; // of an earlier stroke
  if (made.keep) made = {...finished, ...made};
  else if (!(made.progress < 1)) finished = made;
  const turn = ++newest;
  number = made.number || number;
  given = {pictures: [], ...made};
  clearTimeout(late);
  if (chosen >= given.pictures.length) chosen = 0;
  const some = given.pictures.length > 0;
  if (some) await put(after, given.pictures[chosen][0]);
  await put(before, given.before);
  if (turn !== newest) return;
  uncover();
  samples();
  part("line").textContent = given.line || "";
  const bar = part("progress");
  bar.hidden = !(given.progress < 1);
  bar.firstElementChild.style.width = 100 * (given.progress || 0) + "%";
  for (const button of element.querySelectorAll("[data-do]")) button.disabled = !some;
  requestAnimationFrame(() => {
    element.dataset.number = given.number || 0;
    const detail = {number: given.number || 0, seconds: given.seconds || 0};
    element.dispatchEvent(new CustomEvent("sdedit-shown", {detail, bubbles: true}));
  });
}

function bytes(url) {
  return Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
}

// A PNG without its chunks of text: a signature of 8 bytes, then chunks of length, type, data, sum.
function withoutText(data) {
  const kept = [data.subarray(0, 8)], view = new DataView(data.buffer);
  for (let at = 8; at < data.length; ) {
    const end = at + 12 + view.getUint32(at);
    const type = String.fromCharCode(...data.subarray(at + 4, at + 8));
    if (!["tEXt", "iTXt", "zTXt"].includes(type)) kept.push(data.subarray(at, end));
    at = end;
  }
  return kept;
}

function download() {
  if (!given.pictures.length) return;
  const [url, name] = given.pictures[chosen], data = bytes(url);
  const pieces = part("plain").checked ? withoutText(data) : [data];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(pieces, {type: "image/png"}));
  link.download = name || "result.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

compare.addEventListener("input", uncover);
element.querySelector('[data-do="download"]').addEventListener("click", download);
element.querySelector('[data-do="paint"]').addEventListener("click", () => {
  if (given.pictures.length)
    trigger("paint", {data: given.pictures[chosen][0].split(",")[1], as: "result"});
});
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("textarea, select, [contenteditable], input:not([type=range])")) return;
  if (event.key === "d") download();
});
window.addEventListener("sdedit-sent", () => {
  clearTimeout(late);
  late = setTimeout(() => {
    part("line").textContent = "under way; the first edit of its kind compiles";
  }, SOON);
});
window.addEventListener("sdedit-answered", () => {
  clearTimeout(late);
  part("line").textContent = given.line || "";
});
watch("value", show);
show();
