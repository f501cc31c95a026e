"""Wall time of `import wearcast` and `wearcast --help`, against the limit of 0.3 s.

    python benchmarks/startup.py [--runs 10] [--verbose]

Each run is a fresh process; the first one, which may still write byte code, is not counted. On a busy machine processor
time tells more than wall time. `--verbose` shows which modules cost most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

LIMIT_S = 0.3
HELP = "import sys; from wearcast.cli import main; sys.exit(main(['--help']))"
CASES = {
    "python (bare)": ["-c", "pass"],
    "import wearcast": ["-c", "import wearcast"],
    "wearcast --help": ["-c", HELP],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall time and processor time of one run."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


def offenders(arguments: list[str], most: int) -> list[tuple[float, float, str]]:
    """Modules with the most time of their own: milliseconds alone, with what they import, name."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True)
    rows = []
    for line in done.stderr.splitlines():
        alone, _, rest = line.removeprefix("import time:").partition("|")
        total, _, name = rest.partition("|")
        if alone.strip().isdigit():
            rows.append((int(alone) / 1000, int(total) / 1000, name.strip()))
    return sorted(rows, reverse=True)[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--verbose", action="store_true", help="show the modules that cost most")
    parser.add_argument("--most", type=int, default=15, help="how many modules --verbose shows")
    args = parser.parse_args()

    heads = f"{'':18s}{'median s':>10s}{'fastest s':>11s}{'processor s':>13s}{'of limit':>10s}"
    print(f"{heads}   limit {LIMIT_S} s, {args.runs} runs")
    for name, arguments in CASES.items():
        times = [seconds(arguments) for _ in range(args.runs + 1)][1:]
        median, processor = (statistics.median(values) for values in zip(*times, strict=True))
        ratio = "" if "bare" in name else f"{median / LIMIT_S:.2f}"
        print(f"{name:18s}{median:10.3f}{min(times)[0]:11.3f}{processor:13.3f}{ratio:>10s}")
    if args.verbose:
        for name in ("import wearcast", "wearcast --help"):
            print(f"\n{name}: ms alone, ms with what it imports, module")
            for alone, total, module in offenders(CASES[name], args.most):
                print(f"{alone:8.1f}{total:8.1f}  {module}")


if __name__ == "__main__":
    main()
