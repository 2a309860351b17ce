"""Parameters and multiply-adds beside those counted with the official code of each method."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from src.reports.tables import as_markdown, markdown_row

REFERENCES = Path(__file__).parents[1] / "metrics" / "reference_cost.csv"
TOLERANCE = 0.005  # relative, of GMACs
TRAIN_FORM = "gmacs_train_form"


@dataclass(frozen=True)
class Reference:
    """One line of `reference_cost.csv`.

    Attributes:
        model: name of a model configuration.
        options: overrides of it.
        size: (height, width) of the image; None for parameters.
        quantity: "params_train", "params_inference", "gmacs_key", "gmacs_nonkey", "gmacs_amortised" as in
            `src.benchmark`, or "gmacs_train_form" of a network that is not merged.
        value: as printed by the source; parameters exact, or as millions ("5.734M").
        apart: parameters among them that the network here does not have or counts elsewhere, see `note`.
        source: fact sheet and section; the figures there were counted with the official code.
        note: for readers of the table.
    """

    model: str
    options: tuple[str, ...]
    size: tuple[int, int] | None
    quantity: str
    value: str
    apart: int
    source: str
    note: str

    @property
    def expected(self) -> float:
        """Return the value that the counted one has to agree with."""
        value = float(self.value.removesuffix("M")) * (1e6 if self.value.endswith("M") else 1)
        return value - self.apart

    def agrees(self, counted: float) -> bool:
        """Compare parameters to the last printed digit, GMACs within 0.5 % or the rounding of the reference."""
        decimals = len(self.value.removesuffix("M").partition(".")[2])
        rounding = 0.5 * 10**-decimals
        if self.quantity.startswith("params"):
            return abs(counted - self.expected) <= (rounding * 1e6 if self.value.endswith("M") else 0)
        return bool(abs(counted - self.expected) <= max(TOLERANCE * self.expected, rounding))


def read_references(path: Path = REFERENCES) -> list[Reference]:
    """Return all lines of the file."""
    with path.open(newline="") as lines:
        return [_reference(line) for line in csv.DictReader(lines)]


def cost_table(compared: Iterable[tuple[Reference, float]]) -> Iterator[str]:
    """Yield lines of a Markdown table of references and counted values, then one with how many agree."""
    head = ["model", "options", "image", "quantity", "counted", "reference", "apart", "difference", "source", "note"]
    yield as_markdown(head, [], left=4)
    agreeing = total = 0
    for reference, counted in compared:
        total += 1
        agreeing += reference.agrees(counted)
        yield _line(reference, counted)
    yield ""
    yield f"{agreeing} of {total} agree: parameters exactly, GMACs within {TOLERANCE:.1%}."


def _line(reference: Reference, counted: float) -> str:
    size = "x".join(map(str, reference.size)) if reference.size else ""
    if reference.quantity.startswith("params"):
        shown = f"{counted:,}"
        exact = reference.value.isdigit()
        difference = f"{counted - reference.expected:,.0f}" if exact else f"{(counted - reference.expected) / 1e6:.4f}M"
    else:
        shown, difference = f"{counted:.3f}", f"{counted / reference.expected - 1:+.2%}"
    value = f"{int(reference.value):,}" if reference.value.isdigit() else reference.value
    apart = f"{reference.apart:,}" if reference.apart else ""
    cells = [reference.model, " ".join(reference.options), size, reference.quantity, shown, value, apart]
    cells += [difference if reference.agrees(counted) else f"**{difference}**", reference.source, reference.note]
    return markdown_row(cells)


def _reference(line: dict[str, str]) -> Reference:
    size = (int(line["height"]), int(line["width"])) if line["height"] else None
    return Reference(
        line["model"],
        tuple(line["options"].split()),
        size,
        line["quantity"],
        line["reference"],
        int(line["apart"] or 0),
        line["source"],
        line["note"],
    )
