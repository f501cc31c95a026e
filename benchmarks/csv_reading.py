"""Rows per second of reading a big CSV into a checked fleet, against a bare Polars scan of the same file.

    python benchmarks/csv_reading.py [--rows 10000000]

A simulated fleet is streamed to Parquet and written as CSV. Fresh processes then read it in turn: Polars alone, every
column collected, and wearcast, which also sniffs the layout, checks every cell and every key, and sorts what is not.
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


def checked(file: Path) -> int:
    """What a user's `load_dataset` does."""
    from wearcast.datasets import ColumnMapping, load_dataset

    settings = ("altitude", "mach", "throttle")
    mapping = ColumnMapping(unit="unit", cycle="cycle", settings=settings, end_of_life="last_row")
    return load_dataset(file, "all", mapping).n_rows


def write(file: Path, rows: int) -> None:
    """The fleet as CSV."""
    import polars as pl

    from wearcast.datasets.simulated import SimulatedDataset, stream_parquet

    parquet = file.with_suffix(".parquet")
    stream_parquet(parquet, rows=rows, config=SimulatedDataset())
    pl.scan_parquet(parquet).sink_csv(file)
    parquet.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", choices=["bare", "checked"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        import wearcast.datasets  # noqa: F401 - importing is not reading

        began = time.perf_counter()
        rows = {"bare": bare, "checked": checked}[args.read](args.file)
        print(json.dumps([rows, time.perf_counter() - began]))
        return
    with tempfile.TemporaryDirectory(prefix="wearcast-bench-") as folder:
        file = Path(folder) / "fleet.csv"
        write(file, args.rows)
        print(f"{args.rows:,} rows, {file.stat().st_size / 2**20:,.0f} MiB, {args.rounds} rounds in turn")
        seconds: dict[str, list[float]] = {"bare": [], "checked": []}
        rows = 0
        for _ in range(args.rounds):
            for name, found in seconds.items():
                command = [sys.executable, __file__, f"--read={name}", f"--file={file}"]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                rows, took = json.loads(done.stdout)
                found.append(took)
    for name, found in seconds.items():
        print(f"{name:8s} {statistics.median(found):7.2f} s {rows / statistics.median(found):14,.0f} rows/s")
    ratio = statistics.median(b / c for b, c in zip(seconds["bare"], seconds["checked"], strict=True))
    print(f"checked fleet at {ratio:.2f} x the speed of the bare scan (wanted {WANTED:g} x)")
    sys.exit(ratio < WANTED)


if __name__ == "__main__":
    main()
