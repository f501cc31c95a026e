"""Rows per second of reading a big CSV into a checked fleet, against a bare Polars scan of the same file.

    python benchmarks/csv_reading.py [--rows 10000000]

A simulated fleet is streamed to Parquet and written as CSV. Fresh processes then read it in turn: Polars alone, every
column collected, and wearcast, which also sniffs the layout, checks every cell and every key, and sorts what is not;
then wearcast with `on_error: skip`, on the same file and on one with a bad line in every 100,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 0.5


def bare(file: Path) -> int:
    """What Polars does by itself."""
    import polars as pl

    return pl.scan_csv(file).collect().height


def checked(file: Path, on_error: str = "fail") -> int:
    """What a user's `load_dataset` does."""
    from wearcast.datasets import ColumnMapping, load_dataset

    settings = ("altitude", "mach", "throttle")
    words = {"unit": "unit", "cycle": "cycle", "settings": settings, "end_of_life": "last_row", "on_error": on_error}
    return load_dataset(file, "all", ColumnMapping.model_validate(words)).n_rows


def skipping(file: Path) -> int:
    """The same where rows may be left out."""
    return checked(file, "skip")


READINGS = {"bare": bare, "checked": checked, "skipping": skipping}


def write(file: Path, rows: int) -> None:
    """The fleet as CSV."""
    import polars as pl

    from wearcast.datasets.simulated import SimulatedDataset, stream_parquet

    parquet = file.with_suffix(".parquet")
    stream_parquet(parquet, rows=rows, config=SimulatedDataset())
    pl.scan_parquet(parquet).sink_csv(file)
    parquet.unlink()


def damage(file: Path, target: Path) -> None:
    """A copy in which every 100,000th line is cut off."""
    with file.open("rb") as lines, target.open("wb") as out:
        out.writelines(line if n % 100_000 else line[:20] + b"\n" for n, line in enumerate(lines, start=-50_000))


def timed(name: str, file: Path) -> tuple[int, float]:
    """Rows and seconds in a process of its own."""
    command = [sys.executable, __file__, f"--read={name}", f"--file={file}"]
    rows, took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return rows, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", choices=list(READINGS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        import wearcast.datasets  # noqa: F401 - importing is not reading

        began = time.perf_counter()
        rows = READINGS[args.read](args.file)
        print(json.dumps([rows, time.perf_counter() - began]))
        return
    with tempfile.TemporaryDirectory(prefix="wearcast-bench-") as folder:
        file = Path(folder) / "fleet.csv"
        write(file, args.rows)
        print(f"{args.rows:,} rows, {file.stat().st_size / 2**20:,.0f} MiB, {args.rounds} rounds in turn")
        damaged = file.with_name("damaged.csv")
        damage(file, damaged)
        jobs = {name: (name, file) for name in READINGS} | {"damaged": ("skipping", damaged)}
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        rows = 0
        for _ in range(args.rounds):
            for name, found in seconds.items():
                rows, took = timed(*jobs[name])
                found.append(took)
    for name, found in seconds.items():
        print(f"{name:8s} {statistics.median(found):7.2f} s {rows / statistics.median(found):14,.0f} rows/s")
    ratio = ratio_of(seconds, "bare", "checked")
    print(f"checked fleet at {ratio:.2f} x the speed of the bare scan (wanted {WANTED:g} x)")
    for name, what in (("skipping", "the same file"), ("damaged", "a bad line in every 100,000")):
        print(f"on_error: skip, {what}: {ratio_of(seconds, 'checked', name):.2f} x the speed of reading without it")
    sys.exit(ratio < WANTED)


def ratio_of(seconds: dict[str, list[float]], base: str, other: str) -> float:
    """How fast one is, in terms of another one's speed."""
    return statistics.median(b / o for b, o in zip(seconds[base], seconds[other], strict=True))


if __name__ == "__main__":
    main()
