"""Tables as Markdown, and as boxes on a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[str]


@dataclass(frozen=True)
class TitledTable:
    """A table of a report.

    Attributes:
        title: above it.
        head: one heading per column.
        rows: cells, as many as headings in each.
        left: columns that are aligned to the left; the others are to the right.
    """

    title: str
    head: Row
    rows: Sequence[Row]
    left: int = 1

    def markdown(self) -> str:
        """Return the table as Markdown under its title."""
        return f"### {self.title}\n\n{as_markdown(self.head, self.rows, self.left)}\n"


def as_cell(value: object, digits: int = 2) -> str:
    """Format a value: None as "-", floats with `digits` decimals, integers with thousands separators."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Format a mean ± sample standard deviation, the mean alone of one value or equal ones, "-" without any."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(set(values)) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}" if values else "-"


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None where all are."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def as_percent(share: float | None) -> str:
    """Format a share 0..1 in percent with one decimal."""
    return as_cell(None if share is None else 100.0 * share, 1)


def as_markdown(head: Row, rows: Sequence[Row], left: int = 1) -> str:
    """Return a Markdown table, the first `left` columns aligned to the left and the others to the right."""
    rule = ["---" if column < left else "--:" for column in range(len(head))]
    return "\n".join(markdown_row(cells) for cells in (head, rule, *rows))


def markdown_row(cells: Row) -> str:
    """Return one line of a Markdown table; bars and line ends in its cells do not end them."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"


def print_table(
    head: Row,
    rows: Sequence[Row],
    *,
    title: str = "",
    left: Sequence[int] = (0,),
    width: int = 110,
    errors: bool = False,
) -> None:
    """Print a table in a box; brackets and colons in its texts are no markup.

    Args:
        head: one heading per column.
        rows: cells, as many as headings in each.
        title: above the table.
        left: columns that are aligned to the left, the others are to the right.
        width: of the output in characters, which cells are wrapped to.
        errors: print to standard error.
    """
    table = Table(title=Text(title, style="table.title") if title else None)
    for column, heading in enumerate(head):
        table.add_column(Text(str(heading)), justify="left" if column in left else "right")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(stderr=errors, width=width).print(table)
