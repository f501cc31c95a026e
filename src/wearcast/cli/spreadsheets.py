"""Names from outside in a CSV file that somebody opens in a spreadsheet, which takes some of them for formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["disarmed", "say_disarmed"]

_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def disarmed(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The table with an apostrophe before each text that a spreadsheet would run, and how many there were.

    OWASP, "CSV Injection". Text that is a number, such as the unit `-2`, stays as it is.
    """
    import polars as pl

    count, changed = 0, []
    for series in table:
        if series.dtype not in (pl.String, pl.Enum, pl.Categorical):
            continue
        text = series.cast(pl.String)
        armed = (text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)).fill_null(False)
        if armed.any():
            count += int(armed.sum())
            safe = pl.select(pl.when(armed).then(pl.lit("'") + text).otherwise(text)).to_series()
            changed.append(safe.alias(series.name))
    return (table.with_columns(changed) if changed else table), count


def say_disarmed(count: int) -> None:
    """Tell of names that are written otherwise than they are."""
    from wearcast.cli.output import say

    if count:
        say(
            f"{count} cells begin as formulas do and have an apostrophe before them, so that no spreadsheet runs them; "
            "Parquet and JSON have them as they are"
        )
