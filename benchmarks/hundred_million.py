"""100 million rows of Parquet, windowed and scored in bounded memory.

    python benchmarks/hundred_million.py [--rows 100000000] [--recipe simulated-lightgbm] [--every 1000] [--folder DIR]

A fleet of a few million rows is simulated, and written again and again under new unit numbers until there are enough
rows; a model is trained on a small fleet of the same kind. Then a fresh process does what a user does, `wearcast
predict BUNDLE FILE --every N --out forecast.parquet`, which sees by itself that the file is larger than memory. Peak
memory is that of the whole process, the interpreter and its libraries included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from big_fleet import peak_mib

LIMIT_MIB = 4096
LIFE = 2000
BASE_ROWS = 2_000_000
COLUMNS = ("--unit=unit", "--cycle=cycle", "--settings=altitude,mach,throttle")


def generate(file: Path, rows: int) -> None:
    """Units of some 2,000 cycles, whole and one after the other, in row groups of two million rows."""
    import polars as pl
    import pyarrow.parquet as parquet

    from wearcast.datasets.simulated import SimulatedDataset, stream_parquet

    base = file.with_name("base.parquet")
    config = SimulatedDataset(typical_life=LIFE)
    stream_parquet(base, rows=min(rows, BASE_ROWS), config=config, chunk_units=100)
    table = pl.read_parquet(base)
    base.unlink()
    units, written = int(table["unit"].max()), 0
    with parquet.ParquetWriter(file, table.to_arrow().schema, compression="snappy", use_dictionary=["unit"]) as writer:
        while written < rows:
            writer.write_table(table.head(rows - written).to_arrow())
            written += min(table.height, rows - written)
            table = table.with_columns(pl.col("unit") + units)


def train(bundle: Path, recipe: str) -> None:
    """A small model of the recipe on units of the same kind."""
    small = ["dataset.units=40", "dataset.test_units=4", f"dataset.typical_life={LIFE}", "features.every=20"]
    small += ["backbone.n_trees=100", "backbone.folds=2"]
    settings = [word for setting in small for word in ("--set", setting)]
    fresh("train", recipe, "--out", str(bundle), *settings, "--no-progress")


def fresh(*words: str) -> dict[str, float]:
    """A command of wearcast in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--run", *words], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(words: list[str]) -> None:
    """The command of a user in this process, which then tells its peak memory."""
    from wearcast.cli import main

    began = time.perf_counter()
    code = main(words)
    print(json.dumps({"code": code, "seconds": time.perf_counter() - began, "peak_mib": peak_mib()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--recipe", default="simulated-lightgbm")
    parser.add_argument("--every", type=int, default=1000, help="readings between two forecasts of a unit")
    parser.add_argument("--folder", type=Path, help="where the files go; about 60 bytes a row are needed")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(args.run)
        return
    with tempfile.TemporaryDirectory(prefix="wearcast-bench-", dir=args.folder) as place:
        folder = Path(place)
        file, bundle, out = folder / "fleet.parquet", folder / "bundle", folder / "forecast.parquet"
        began = time.perf_counter()
        generate(file, args.rows)
        took, size = time.perf_counter() - began, file.stat().st_size / 2**20
        print(f"{args.rows:,} rows, {size:,.0f} MiB, written in {took:.0f} s")
        train(bundle, args.recipe)
        result = fresh("predict", str(bundle), str(file), *COLUMNS, f"--every={args.every}", f"--out={out}")
        import polars as pl

        forecasts = int(pl.scan_parquet(out).select(pl.len()).collect().item()) if result["code"] == 0 else 0
    peak = result["peak_mib"]
    print(
        f"scored in {result['seconds']:.0f} s   {args.rows / result['seconds']:,.0f} rows/s   {forecasts:,} forecasts"
    )
    print(f"peak memory {peak:,.0f} MiB   {peak / LIMIT_MIB:.2f} x of 4 GiB")
    sys.exit(result["code"] or peak > LIMIT_MIB)


if __name__ == "__main__":
    main()
