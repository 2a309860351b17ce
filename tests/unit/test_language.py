"""Keep private words out of code, configuration and documents; docs/glossary.md has the field's words for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.configs import ROOT

INSTEAD = {  # within identifiers too, where there is no word boundary
    r"film": "video",
    r"picture": "image, frame",
    r"\btold\b|\bsaid\b": "reported, configured",
    r"\b(go|goes|going|went) on\b": "resume, continue",
    r"\balike\b": "the same",
    r"\bours\b": "this project's",
    r"\bheed": "respect, handle",
    r"so it is\b": "the rule itself",
    r'"""(What|How) ': "a verb and its object",
}
IDENTIFIERS = [  # parts of users' configurations, files and commands, and names of libraries
    r"camvid_films|ClipsFromFilms",  # data=camvid_films, and a class in checkpoints of earlier versions
    r"data/clips(@[\w.]+)?=films|clips/films|clips: films",
    r"data\.source\.films|\bfilms: ?(\{|\$\{|null|\d|true|false|$)|\bfilms=|\"films\"",
    r"data\.pictures|\bpictures:( ?\w+| ?\$\{|$)|callbacks\.pictures",
    r"\bfilms: (bool|dict|take|number)|= films\b|\bfilms and not|in films\.items|tuple\(films\)|`films`",
    r"SPLIT/(films|pictures)|clips: ?films",
    r"\bfilm=|\bfilm: ?(null|\?\?\?)|config\.film\b|\"film\"|\|film\|",
    r"picture_type|pict_type|PictureType",  # PyAV, and the field of timing.json that holds it
    r"val/pictures|\"pictures\"|/pictures\b",
    r"\[tool\.|FILM_NUMBER",
    r'"bookshelf", "picture", "counter"',  # a class of NYUDv2
]

FILES = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "conf/**/*.yaml", "src/**/*.py")
    for path in ROOT.glob(pattern)
    if path.name != "glossary.md"  # it names the words to avoid
)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] in ("src", "conf") and len(parts) > 2 else "/".join(parts[-2:])


def private_words(text: str) -> list[str]:
    """Lines with a word to avoid, each with what to write instead."""
    kept = re.compile("|".join(IDENTIFIERS))
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        rest = kept.sub("", line)
        found += [
            f"line {number}: {line.strip()} (write: {better})"
            for word, better in INSTEAD.items()
            if re.search(word, rest, 0 if word.startswith('"') else re.IGNORECASE)
        ]
    return found


def test_private_words_are_found() -> None:
    found = private_words('"""What a Film is."""\ndata.pictures=frames\nit goes on\ngo_on = 1\nthe profiler\n')
    assert [line.split(":")[0] for line in found] == ["line 1", "line 1", "line 3"]


@pytest.mark.parametrize("name", sorted({room(path) for path in FILES}))
def test_only_words_of_the_field_are_used(name: str) -> None:
    found = [
        f"{path.relative_to(ROOT)} {line}"
        for path in FILES
        if room(path) == name
        for line in private_words(path.read_text())
    ]
    assert not found, "\n".join(found)
