// The strip of finished results. The value is JSON: pictures [url], at. Event: "pick".
function show() {
  let given = {pictures: [], at: -1};
  try { given = JSON.parse(props.value || "{}"); } catch { return; }
  const row = element.querySelector(".sd-strip");
  row.replaceChildren();
  (given.pictures || []).forEach((url, i) => {
    const one = document.createElement("button"), image = document.createElement("img");
    one.type = "button"; one.title = "Result " + (i + 1);
    one.setAttribute("aria-pressed", i === given.at);
    image.src = url; image.alt = "Result " + (i + 1);
    one.append(image);
    one.addEventListener("click", () => trigger("pick", {at: i}));
    row.append(one);
    if (i === given.at) one.scrollIntoView({block: "nearest", inline: "nearest"});
  });
}
watch("value", show);
show();
