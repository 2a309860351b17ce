"""Results below a folder as one HTML file that needs nothing else, and the same tables as Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.errors import UserError
from src.files import as_json, atomic_write
from src.reports.page.player import PlayerSection, players
from src.reports.page.sections import Section, provenance, sections
from src.reports.tables import TitledTable

HERE = Path(__file__).parent
SUFFIX = ".html"


def write_page(
    folder: Path, page: Path, score: str, distances: list[int], studies: Sequence[tuple[TitledTable, Sequence[str]]]
) -> list[Path]:
    """Write the page and, beside it, its tables as Markdown; return both paths.

    Args:
        folder: holds run directories at any depth.
        page: file to write, which ends in .html.
        score: that sweeps are compared by.
        distances: to the keyframe, in tables.
        studies: table of each study that has runs there, and lines below it.

    Raises:
        UserError: nothing to show, a result that cannot be read, or another suffix.
    """
    if page.suffix.lower() != SUFFIX:
        raise UserError(f"page={page} does not end in {SUFFIX}; give page=NAME{SUFFIX}")
    found: list[Section | PlayerSection] = [*sections(folder, score, distances)]
    names = [name for part in found if isinstance(part, Section) for name in part.systems]
    found[1:1] = players(folder, list(dict.fromkeys(names)))
    found += [Section(f"Ablation: {table.title}", "; ".join(lines), tables=[table]) for table, lines in studies]
    if not found:
        raise UserError(
            f"runs={folder} holds no results of src.train, src.eval, src.predict player=N or src.benchmark; give a run "
            "directory, or a folder of them such as logs"
        )
    if (runs := provenance(folder)).rows:
        found.append(Section("Runs", "How each result can be made again.", tables=[runs]))
    name, twin = folder.resolve().name, page.with_suffix(".md")
    page.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((page, _html(name, found)), (twin, _markdown(name, found))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [page, twin]


def _html(name: str, found: Sequence[Section | PlayerSection]) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    script, style = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [_part(number, part) for number, part in enumerate(found)]
    return environment.get_template("page.html").render(
        name=name, parts=parts, script=Markup(script), style=Markup(style), script_hash=Markup(f"sha256-{digest}")
    )


def _part(number: int, part: Section | PlayerSection) -> dict[str, Any]:
    plain = re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-")
    shown = {**vars(part), "anchor": f"{number + 1}-{plain}"[:60]}
    if isinstance(part, PlayerSection):  # in a script element only "</script" and "<!--" have a meaning
        shown["data"] = Markup(as_json(part.content, separators=(",", ":")).replace("<", "\\u003c"))
    return shown


def _markdown(name: str, found: Sequence[Section | PlayerSection]) -> str:
    lines = [f"# Results: {_plain(name)}\n"]
    for part in found:
        lines += [f"## {_plain(part.title)}\n", *([f"{_plain(part.note)}\n"] if part.note else [])]
        for table in [part.table] if isinstance(part, PlayerSection) else [*part.tables, *_matrices(part)]:
            head, rows = list(map(_plain, table.head)), [[_plain(cell) for cell in row] for row in table.rows]
            lines.append(TitledTable(_plain(table.title), head, rows, table.left).markdown())
    return "\n".join(lines)


def _matrices(section: Section) -> list[TitledTable]:
    return [
        TitledTable(
            f"Confusion of {matrix.system}: percent of the pixels of a class (rows), by prediction (columns)",
            ["class", *matrix.classes],
            [
                [label, *("-" if share is None else f"{share:.1f}" for share in shares)]
                for label, shares in zip(matrix.classes, matrix.shares, strict=True)
            ],
        )
        for matrix in section.confusions
    ]


def _plain(text: str) -> str:
    """Escape what would be markup of HTML within Markdown."""
    return escape(" ".join(text.split()), quote=False)
