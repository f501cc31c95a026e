"""`wearcast benchmark`: every shipped model on the data that the literature is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wearcast.cli.options import Json, Overrides, Workers

__all__ = ["benchmark"]


def benchmark(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="cmapss, ai4i, skf or ett.")],
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, metavar="N", help="Seeds 0 to N-1 of each.")] = 3,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B,…", help="Only these, such as lightgbm,ensemble.")
    ] = None,
    parts: Annotated[
        str | None, typer.Option("--parts", metavar="A,B,…", help="Only these parts, such as FD001,FD003.")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of bundles and results.")] = Path(
        "runs/benchmark"
    ),
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.md", help="Write the page of the documentation too.")
    ] = None,
    workers: Workers = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
    as_json: Json = False,
) -> None:
    """Run every shipped model on a published data set.

    Each finished model is kept: a second run does what is missing, and with nothing missing only puts the results
    together. A model that fails is a row with its error.

    \b
    Example:  wearcast benchmark cmapss --seeds 5 --parts FD001,FD003
              wearcast benchmark cmapss --seeds 5 --page docs/results-cmapss.md
              wearcast benchmark ai4i --models lightgbm --json
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table, say
    from wearcast.training.benchmark import run_suite
    from wearcast.training.benchmark_page import benchmark_page, benchmark_table
    from wearcast.training.suites import find_suite
    from wearcast.training.workers import threads_at_hand
    from wearcast.writing import write_whole

    found = find_suite(suite)
    results = run_suite(
        found, seeds=seeds, out=out, models=_names(models), parts=_names(parts), assignments=overrides or (), say=say,
        progress=progress, workers=workers or threads_at_hand(),
    )  # fmt: skip
    if as_json:
        print_json(results)
    else:
        for part in results["parts"]:
            columns, rows = benchmark_table(part)
            print_table(f"{found.title}, {part['name']} (* as others report it)", columns, rows)
            for row in part["rows"]:
                for text in (row["note"], *row["errors"]):
                    if text:
                        say(f"{part['name']}, {row['recipe']}: {text}")
    say(f"results: {out / f'{suite}.json'}")
    if page is not None:
        write_whole(page, benchmark_page(results).encode())
        say(f"page: {page}")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
