"""Rows per second and peak memory of reading and windowing a big simulated fleet.

    python benchmarks/big_fleet.py [--rows 10000000] [--context 30] [--batch 256] [--keep FILE]

One process streams the rows to a Parquet file. A fresh one reads them as a user's file, with a mapping, fits and
applies the preprocessing, and gathers every window, batch by batch. Peak memory is that of the whole process, the
interpreter and its libraries included. It is compared with the float32 array that windows are cut from
(`Channels.values`), and with the smaller one of the raw columns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 3.0
MIB = 2**20


def peak_mib() -> float:
    """Peak resident memory of this process.

    `VmHWM` starts anew with the program, where `ru_maxrss` remembers the process that forked it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    scale = MIB if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


class Clock:
    """Seconds and peak memory after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float | str]] = []
        self.start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.steps.append({"step": name, "seconds": now - self.start, "peak_mib": peak_mib()})
        self.start = time.perf_counter()


def stream(args: argparse.Namespace) -> dict[str, object]:
    import pyarrow.parquet  # noqa: F401 - its memory is not the stream's

    from wearcast.datasets.simulated import SimulatedDataset, stream_parquet

    clock = Clock()
    clock.lap("import")
    config = SimulatedDataset(conditions=args.conditions, seed=args.seed)
    rows = stream_parquet(args.file, rows=args.rows, config=config)
    clock.lap("stream to Parquet")
    return {"rows": rows, "steps": clock.steps}


def read(args: argparse.Namespace) -> dict[str, object]:
    clock = Clock()
    import numpy as np

    from wearcast.datasets import ColumnMapping, load_dataset
    from wearcast.features import SequenceFeatures
    from wearcast.windows import Preprocessing, Windows, WindowSpec

    clock.lap("import")
    mapping = ColumnMapping(
        unit="unit", cycle="cycle", settings=("altitude", "mach", "throttle"), end_of_life="last_row"
    )
    fleet = load_dataset(args.file, "all", mapping)
    clock.lap("read into a fleet")
    preprocessing = Preprocessing.fit(fleet, SequenceFeatures())
    clock.lap("fit preprocessing")
    channels = preprocessing.transform(fleet)
    clock.lap("transform")
    windows = Windows(channels, WindowSpec(context_length=args.context), np.arange(fleet.n_rows))
    gathered = sum(len(batch.past) for batch in windows.batches(args.batch))
    clock.lap("gather all windows")
    raw = fleet.n_rows * len(fleet.schema.numeric) * 4
    return {
        "rows": fleet.n_rows,
        "units": fleet.n_units,
        "windows": gathered,
        "steps": clock.steps,
        "array_mib": channels.values.nbytes / MIB,
        "raw_mib": raw / MIB,
        "channels": channels.values.shape[1],
    }


def fresh(step: str, args: argparse.Namespace, file: Path) -> dict[str, object]:
    """Run one step in a process of its own."""
    flags = [f"--{name}={getattr(args, name)}" for name in ("rows", "context", "batch", "conditions", "seed")]
    command = [sys.executable, __file__, *flags, f"--step={step}", f"--file={file}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def show(title: str, result: dict[str, object]) -> None:
    rows = result["rows"]
    print(f"\n{title:22s}{'seconds':>9s}{'rows/s':>13s}{'peak MiB':>10s}")
    for step in result["steps"]:
        speed = "" if step["step"] == "import" else f"{rows / step['seconds']:,.0f}"
        print(f"  {step['step']:20s}{step['seconds']:9.1f}{speed:>13s}{step['peak_mib']:10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--context", type=int, default=30, help="readings of a window")
    parser.add_argument("--batch", type=int, default=256, help="windows of a batch")
    parser.add_argument("--conditions", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the Parquet file; read it if it is there")
    parser.add_argument("--step", choices=["stream", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps({"stream": stream, "read": read}[args.step](args)))
        return

    with tempfile.TemporaryDirectory(prefix="wearcast-bench-") as folder:
        file = args.keep or Path(folder) / "fleet.parquet"
        if not file.exists():
            written = fresh("stream", args, file)
            show(f"{written['rows']:,} rows", written)
            before, after = (step["peak_mib"] for step in written["steps"])
            print(f"  grew by {after - before:.0f} MiB for a file of {file.stat().st_size / MIB:.0f} MiB")
        result = fresh("read", args, file)
    show(f"{result['rows']:,} rows", result)
    seconds = sum(step["seconds"] for step in result["steps"])
    peak = max(step["peak_mib"] for step in result["steps"])
    print(f"\n{result['units']:,} units, {result['windows']:,} windows of {args.context} readings")
    print(f"read to last window   {seconds:9.1f} s   {result['rows'] / seconds:,.0f} rows/s")
    print(f"peak memory           {peak:9.0f} MiB")
    for name, size in ((f"float32, {result['channels']} channels", "array_mib"), ("float32, raw columns", "raw_mib")):
        print(f"  / {name:20s}{result[size]:7.0f} MiB   {peak / result[size]:.2f} x (limit {LIMIT:g} x)")


if __name__ == "__main__":
    main()
