"""What an evaluation costs beside its edits: idle devices, several processes, long manifests.

python experiments/scale/scale.py idle | processes | manifest

`processes` pins each process to a core of its own with taskset. `manifest` replaces reading,
editing and measuring by a stub, so that what is left is bookkeeping.
"""

import argparse
import csv
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = (1_000, 100_000)


def main() -> None:
    """Run one of the measurements, and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["idle", "processes", "manifest", "stub"])
    parser.add_argument("manifest", nargs="?", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.what == "stub":
            stub(args.manifest, Path(folder))
        else:
            {"idle": idle, "processes": processes, "manifest": manifest}[args.what](Path(folder))


def command(folder: Path, *more: str) -> list[str]:
    """An evaluation of the shipped photos, 552 edits in batches of 64."""
    line = [sys.executable, "main.py", "--mode=evaluate", "--config=evaluate_strokes"]
    return [*line, f"--workdir={folder}", *more]


def idle(folder: Path) -> None:
    """The pace line at the end of a run: the shares of the time of the devices."""
    found = subprocess.run(command(folder / "out"), cwd=ROOT, capture_output=True, text=True)
    print(_last(found.stdout, "pace"))


def processes(folder: Path) -> None:
    """Seconds of the same edits by one process on one core, and by two processes on two cores."""
    cache = f"--config.cache={folder / 'cache'}"
    pinned(folder / "warm", 1, cache, "--config.limit=8")
    seconds = {count: pinned(folder / f"by{count}", count, cache) for count in (1, 2)}
    same = _same(folder / "by1", folder / "by2")
    for count, value in seconds.items():
        print(f"{count} pinned: {value:.1f} s")
    print(f"ratio {seconds[1] / seconds[2]:.2f}; results.json equal: {same}")


def pinned(out: Path, count: int, *more: str) -> float:
    """Seconds of an evaluation by processes with a core each."""
    begun, address = time.perf_counter(), "127.0.0.1:29871"
    shared = ["--config.batch=16", "--config.samples=8", *more]
    if count > 1:
        shared += [f"--config.cluster.coordinator={address}", f"--config.cluster.processes={count}"]
    running = []
    for k in range(count):
        own = [f"--config.cluster.process={k}"] if count > 1 else []
        line = ["taskset", "-c", str(k), *command(out, *shared, *own)]
        running.append(subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL))
    if any([process.wait() for process in running]):
        raise SystemExit("a process failed")
    return time.perf_counter() - begun


def _same(a: Path, b: Path) -> bool:
    return (a / "results.json").read_bytes() == (b / "results.json").read_bytes()


def _last(text: str, start: str) -> str:
    return [line for line in text.splitlines() if line.startswith(start)][-1]


def manifest(folder: Path) -> None:
    """Seconds and peak memory of manifests of ROWS rows, each in a process of its own."""
    photos = sorted((ROOT / "examples/flowers/photos").glob("*.webp"))
    for rows in ROWS:
        file = folder / f"{rows}.csv"
        with file.open("w", newline="") as text:
            table = csv.writer(text)
            table.writerow(["id", "picture"])
            table.writerows([f"row{k}", photos[k % len(photos)]] for k in range(rows))
        line = [sys.executable, __file__, "stub", str(file)]
        found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        print(f"{rows:,} rows: {re.findall(r'stub: .*', found.stdout)[-1]}")


def stub(file: Path, folder: Path) -> None:
    """An evaluation of a manifest in which nothing is read, edited or measured."""
    import sdedit_jax as sj
    from sdedit_jax.configs import evaluate_strokes
    from sdedit_jax.modes.evaluating import batches, writer

    batches.Reader.__call__ = lambda self, batch: batches.Loaded(batch, {})
    batches.Editor.__call__ = lambda self, loaded: batches.Edited(loaded, [], {}, {}, {}, 0, 0.0)
    writer.Writer.__call__ = write_stub
    config = evaluate_strokes.get_config()
    config.input, config.samples, config.shard_size = str(file), 1, 1024
    config.features.prior, config.report_rows = "", 0
    begun = time.perf_counter()
    sj.run(config, folder / "out", "evaluate")
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(f.stat().st_size for f in (folder / "out").rglob("*") if f.is_file()) / 2**20
    print(f"stub: {seconds:.1f} s, peak {peak:.0f} MB, {size:.0f} MB on disk")


def write_stub(self: object, edited: object) -> None:
    """Lines as those of edits, with pictures of four bytes."""
    names = ("guide_l2", "guide_rms", "photo_rms", "photo_psnr", "photo_ssim")
    for edit in edited.loaded.batch.edits:
        line = {"id": self.run.data.ids[edit.row], "sample": edit.sample, "seed": 0}
        line |= {"key": 16 * "0", "evaluations": 12, "seconds": 0.1, "sha256": 64 * "0"}
        line |= {
            "numbers": dict.fromkeys(names, 1.0 + edit.row),
            "picture": len(self.shard.pictures),
        }
        line["channels"] = 3
        self.shard.lines.append(line)
        self.shard.pictures.append(b"stub")
        self.recipes.append({"id": line["id"], "place": {"row": edit.row}})
    if edited.loaded.batch.last:
        self.finish(edited.loaded.batch.shard)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.path.insert(0, str(ROOT))
    main()
