"""The tables of devices.py, from its rows."""

from typing import Any

import cost

LARGE, MANY = (1, 2, 4, 8, 16, 32, 64), 10_000
"""Devices and pictures of the model's own table."""

COLUMNS = ("devices", "batch", "cores", "busy", "compile, s", "edits, s", "model, s")
COLUMNS += ("edits / model", "edits/s")

Row = dict[str, Any]


def print_tables(rows: list[Row]) -> None:
    """The measurements beside the model, and the model on many devices."""
    jobs = [row for row in rows if row["kind"] == "job"]
    model = fitted(rows)
    first = rows[0]
    print(f"{first['device']}, {first['prior']}, {first['compute']}, load {first['load']}\n")
    print(f"Largest error of the fit: {100 * error(rows, model):.1f} %.\n")
    print("| " + " | ".join(f"{name}, s" for name in model._fields) + " |")
    print("|---:" * len(model) + "|\n| " + " | ".join(f"{value:.3g}" for value in model) + " |\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---:" * len(COLUMNS) + "|")
    for row in jobs:
        print(job_line(row, model))
    one = jobs[0]
    print(f"\nThe model, {MANY:,} pictures, {one['batch']} at a time on a device:\n")
    print("| devices | seconds | device-seconds a picture |\n|---:|---:|---:|")
    for devices in LARGE:
        seconds = cost.of_job(model, MANY, devices, one["batch"], one["evaluations"])
        print(f"| {devices} | {seconds:,.0f} | {cost.of_picture(seconds, devices, MANY):.3g} |")


def fitted(rows: list[Row]) -> cost.Cost:
    """The model, from one device alone."""
    one = next(row for row in rows if row["kind"] == "job" and row["devices"] == 1)
    write = one["write"] / one["pictures"]
    return cost.fit(points(rows))._replace(compile=one["compile"], write=write)


def points(rows: list[Row]) -> list[tuple[int, int, float]]:
    """(batch, evaluations, seconds) of the batches on one device."""
    names = ("batch", "evaluations", "seconds")
    return [tuple(row[name] for name in names) for row in rows if row["kind"] == "batch"]


def error(rows: list[Row], model: cost.Cost) -> float:
    """The largest relative error of the model for these batches."""
    return max(abs(cost.of_batch(model, b, e) / seconds - 1) for b, e, seconds in points(rows))


def job_line(row: Row, model: cost.Cost) -> str:
    """A row of the table of jobs: editing and writing, beside the model without compiling."""
    devices, cpu = row["devices"], row["platform"] == "cpu"
    shared = devices / row["cores"] if cpu else 1.0
    settings = row["pictures"], devices, row["batch"], row["evaluations"], shared
    wanted = cost.of_job(model._replace(compile=0.0), *settings)
    found = row["seconds"] - row["compile"]
    shown = (row["compile"], found, wanted, found / wanted, row["edits_per_second"])
    host = (row["cores"], f"{100 * row['busy']:.0f} %") if cpu else ("", "")
    cells = [devices, row["batch"], *host, *(f"{value:.3g}" for value in shown)]
    return f"| {' | '.join(map(str, cells))} |"
