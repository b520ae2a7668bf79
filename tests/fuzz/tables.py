"""CSV and lines of JSON: captions, manifests and prompts."""

import json
from pathlib import Path

from fuzz.case import Case, kind, program
from fuzz.folders import copied
from fuzz.mutate import damaged, dumps, hostile
from fuzz.special import base_fields, with_prompts

CELLS = ("", " ", "a", "\0", '"', '""', "a\nb", "a\rb", "x" * 10**7, "../../../etc/passwd", "=1+1")
CELLS += ("/dev/zero", "\ud83d\ude00", "\ufeff", "nan", "-1", "1e999", "9" * 5000, ",", ";", "\t")
CELLS += ("/etc/passwd", "a0.png", "..", "a/../a0.png", "a0.png\0", "~", "\x1b[31m", "\u202e")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")


def table(rng, header, rows, delimiter=","):
    """The bytes of a CSV file with one or two kinds of damage: (bytes, words)."""
    rows = [list(row) for row in rows]
    words = []
    for _ in range(1 + rng.chance(0.3)):
        how = rng.choice(
            ("cell", "cell", "header", "ragged", "twice", "no rows", "many", "quote", "bytes")
        )
        words.append(how)
        i = rng.below(len(rows)) if rows else 0
        if how == "cell" and rows:
            cell = rng.choice(CELLS)
            rows[i][rng.below(len(rows[i]))] = cell
            words.append(f"{cell[:20]!r}")
        elif how == "header":
            header = list(header)
            header[rng.below(len(header))] = rng.choice(("", "x", header[0], "\0", "a" * 10**5))
        elif how == "ragged" and rows:
            rows[i] = rows[i][:1] if rng.chance(0.5) else rows[i] * 3
        elif how == "twice" and rows:
            rows.append(rows[i])
        elif how == "no rows":
            rows = []
        elif how == "many" and sum(map(len, sum(rows, []))) < 1000:
            rows = rows * 20_000
    lines = [delimiter.join(map(quoted, row)) for row in (header, *rows)]
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(lines) + "\n"
    if "quote" in words:
        at = rng.below(len(text))
        text = text[:at] + '"' + text[at:]
    data = text.encode(rng.choice(ENCODINGS), "replace")
    if "bytes" in words:
        data = damaged(rng, data)[0]
    return data, " ".join(words)


def quoted(cell):
    if any(c in cell for c in ',"\n\r') and cell not in ('"',):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def lines(rng, rows):
    """The bytes of a file of lines of JSON with damage: (bytes, words)."""
    rows = [dict(row) for row in rows]
    how = rng.choice(("value", "value", "row", "text", "remove"))
    i = rng.below(len(rows))
    if how == "value":
        rows[i][rng.choice(rows[i])] = hostile(rng)
    elif how == "row":
        rows[i] = hostile(rng)
    elif how == "remove":
        del rows[i][rng.choice(rows[i])]
    data = "".join(dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")
    return (damaged(rng, data)[0] if how == "text" else data), how


@kind
def captions(rng):
    """The captions of training pictures."""
    copied("captioned")
    for one in ("captions.csv", "metadata.jsonl", "manifest.csv"):
        Path("captioned", one).unlink()
    name = rng.choice(("captions.csv", "metadata.csv", "metadata.jsonl", "a0.txt"))
    if name == "metadata.jsonl":
        rows = [{"file_name": f"a{i}.png", "text": "an apple"} for i in range(2)]
        data, words = lines(rng, rows)
    elif name == "a0.txt":
        data, words = damaged(rng, b"an apple\n")
        Path("captioned/a1.txt").write_text("a cherry")
    else:
        header = ["path", "caption"] if name == "captions.csv" else ["file_name", "text"]
        data, words = table(rng, header, [["a0.png", "an apple"], ["a1.png", "a cherry"]])
    Path("captioned", name).write_bytes(data)
    config = rng.choice(("train", "train_text"))
    fields = base_fields("train") if config == "train" else {"vae": "stock/text/vae", "cache": ""}
    fields |= {"data__source": "captioned", "data__labels": "captions"}
    fields |= {"data__split": "", "data__held_out": ""}
    return Case(program("train", config, **fields), (), f"{name}: {words}")


@kind
def manifests(rng):
    """The manifest of an evaluation."""
    header = ["id", "picture", *rng.choice((["mask"], ["label"], ["prompt"], []))]
    more = {"mask": "stock/mask.png", "label": "x", "prompt": "an apple"}
    rows = [[f"a{i}", f"stock/photos/a/a{i}.png", *map(more.get, header[2:])] for i in range(2)]
    if rng.chance(0.7):
        name = rng.choice(("set.csv", "set.csv", "set.tsv"))
        data, words = table(rng, header, rows, "\t" if name == "set.tsv" else ",")
    else:
        name = "set.jsonl"
        data, words = lines(rng, [dict(zip(header, row, strict=True)) for row in rows])
    Path(name).write_bytes(data)
    fields = base_fields("evaluate_strokes") | {"input": name, "data__layout": "manifest"}
    return Case(program("evaluate", "evaluate_strokes", **fields), (), f"{name}: {words}")


@kind
def prompts_csv(rng):
    """The table of config.prompts."""
    name = rng.choice(("img2img", "ledits"))
    header = ["name", "prompt", "scale"] if name == "img2img" else ["name", "prompt", "concepts"]
    row = ["photo", "a red apple", "3.0" if name == "img2img" else "+red:5"]
    data, words = table(rng, header, [row], rng.choice(",;\t"))
    Path("prompts.csv").write_bytes(data)
    return with_prompts(name, "prompts.csv", words)


@kind
def pie_bench(rng):
    """The mapping file of PIE-Bench."""
    entry = {
        "image_path": "0_random/a.png",
        "original_prompt": "a [red] apple",
        "editing_prompt": "a [green] apple",
        "editing_instruction": "x",
        "mask": [0, 10, 600, 20],
        "blended_word": "a b",
        "editing_type_id": "0",
    }
    Path("pie/annotation_images/0_random").mkdir(parents=True)
    Path("pie/annotation_images/0_random/a.png").write_bytes(Path("stock/photo.png").read_bytes())
    from fuzz.mutate import json_bytes

    data, words = json_bytes(rng, {"000000000000": entry})
    if rng.chance(0.3):
        entry["mask"] = rng.choice(([-1, 5], [0, 10**12], [10**9, 1], [1], [0.5, 1], [0, -1]))
        data, words = json.dumps({"000000000000": entry}).encode(), f"mask {entry['mask']}"
    Path("pie/mapping_file.json").write_bytes(data)
    fields = base_fields("evaluate_ledits", "evaluate")
    fields |= {"input": "pie", "data__layout": "pie_bench", "concepts": ""}
    return Case(program("evaluate", "evaluate_ledits", **fields), (), words)
