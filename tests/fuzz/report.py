"""Failures, grouped by where they happen, as Markdown."""

import collections
import json
import shlex


def line(one):
    return printable(f"{one.kind} {one.seed}: {one.sort}: {one.frame} [{one.note[:80]}]")


def append_line(file, one):
    if file:
        with open(file, "a", encoding="utf-8") as out:
            out.write(json.dumps(one._asdict() | {"stderr": one.stderr[-3000:]}) + "\n")


def write(file, found):
    """A table of kinds and sorts of failures, and each distinct failure."""
    sorts = sorted({one.sort for one in found if one.sort})
    rows = collections.defaultdict(collections.Counter)
    for one in found:
        rows[one.kind][one.sort] += 1
    text = [f"# {len(found)} cases, {sum(bool(one.sort) for one in found)} failures", ""]
    text += ["| kind | cases | " + " | ".join(sorts) + " |", "|---" * (len(sorts) + 2) + "|"]
    for kind, counts in sorted(rows.items()):
        cells = [str(counts[sort] or "") for sort in sorts]
        text.append(f"| {kind} | {sum(counts.values())} | " + " | ".join(cells) + " |")
    groups = collections.defaultdict(list)
    for one in found:
        if one.sort:
            groups[one.sort, one.frame].append(one)
    text += ["", f"# {len(groups)} distinct failures", ""]
    for (sort, frame), ones in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
        first = ones[0]
        text += [f"## {sort}: {printable(frame)}", ""]
        text += [f"{len(ones)} cases, such as `python -m fuzz {first.kind} {first.seed}`: "]
        text[-1] += f"{first.note[:200]!r}; {first.seconds:.1f} s, {first.gigabytes:.1f} GB"
        kinds = collections.Counter(one.kind for one in ones)
        text += ["kinds: " + ", ".join(f"{kind} {n}" for kind, n in kinds.items())]
        if first.argv:
            text += ["`" + shlex.join(["sdedit", *(arg[:200] for arg in first.argv)]) + "`"]
        last = [one for one in first.stderr.splitlines() if one.strip()][-2:]
        text += ["", *(f"    {one[:300]}" for one in last), ""]
    with open(file, "w", encoding="utf-8") as out:
        out.write("\n".join(map(printable, text)) + "\n")


def printable(text):
    """A line of text without control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
