// Pictures in columns and rows. The value is JSON: columns [text], rows [{name, cells [url]}].
// Event: "pick" {row, column}.
function cell(url, name, row, column) {
  const one = document.createElement("button"), image = document.createElement("img");
  one.type = "button"; one.title = name;
  image.src = url; image.alt = name;
  one.append(image);
  one.addEventListener("click", () => trigger("pick", {row, column}));
  return one;
}

function label(text) {
  const one = document.createElement("span");
  one.textContent = text;
  return one;
}

function show() {
  let given = {};
  try { given = JSON.parse(props.value || "{}"); } catch { return; }
  const grid = element.querySelector(".sd-sheet"), columns = given.columns || [];
  const named = (given.rows || []).some((row) => row.name);
  grid.replaceChildren();
  grid.style.gridTemplateColumns = (named ? "auto " : "") + "repeat(" + columns.length + ", 1fr)";
  for (const text of [...(named && columns.length ? [""] : []), ...columns]) grid.append(label(text));
  (given.rows || []).forEach((row, i) => {
    if (named) grid.append(label(row.name));
    row.cells.forEach((url, k) => {
      grid.append(cell(url, [columns[k], row.name].filter(Boolean).join(", "), i, k));
    });
  });
}
watch("value", show);
show();
