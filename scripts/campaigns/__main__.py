"""`python -m scripts.campaigns [NAME ...]`: counts, and each case that went wrong.

Names are preparation-kills, damage, training-kills, endings, mistakes, hostile and videos; without one, all of them.
Long ones can be run in parts: `--start 100 --count 50` runs cases 100 to 149.
"""

from __future__ import annotations

import argparse
import io
import logging
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

from rich.progress import track

from scripts.campaigns.damage import DamageCampaign
from scripts.campaigns.endings import Endings, cases
from scripts.campaigns.hostile import HostileFiles
from scripts.campaigns.kills import KillCampaign
from scripts.campaigns.mistakes import BY_HAND, Mistakes, generated
from scripts.campaigns.shell import Shell, read_lines
from scripts.campaigns.training_kills import METHODS, TrainingKills
from scripts.campaigns.video_recipes import recipes
from scripts.campaigns.videos import sweep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    campaigns = {
        "preparation-kills": kills,
        "damage": damaged,
        "training-kills": training_kills,
        "endings": endings,
        "mistakes": mistakes,
        "hostile": hostile,
        "videos": videos,
    }
    counts = {"preparation-kills": 20, "damage": 400, "training-kills": 10, "endings": 1000}
    counts |= {"mistakes": 1000, "hostile": 1000, "videos": 1000}
    parser.add_argument("names", nargs="*", default=list(campaigns), metavar="NAME", help=", ".join(campaigns))
    parser.add_argument("--count", type=int, default=None, help=f"cases of each; default: {counts}")
    parser.add_argument("--start", type=int, default=0, help="number of the first case; default: 0")
    parser.add_argument("--folder", type=Path, default=None, help="for data and caches; default: a temporary one")
    given = parser.parse_args()
    if unknown := set(given.names) - campaigns.keys():
        parser.error(f"unknown: {', '.join(unknown)}; choose among {', '.join(campaigns)}")
    logging.getLogger("src").addHandler(logging.NullHandler())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children get SIGINT, which `nohup` and `&` ignore
    wrong = 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in given.names:
            (Path(folder) / name).mkdir()
            cases = range(given.start, given.start + (given.count or counts[name]))
            wrong += campaigns[name](Path(folder) / name, cases)
    return min(wrong, 1)


def kills(folder: Path, numbers: range) -> int:
    """Of `src.prepare`."""
    campaign = KillCampaign(folder)
    wrong = 0
    for seed in numbers:
        kill = campaign.kill_once(seed)
        wrong += bool(kill.wrong)
        print(
            f"{seed}: killed at {kill.files} of {len(campaign.expected)} files: "
            f"{kill.wrong or 'ends like the undisturbed run'}",
            flush=True,
        )
    print(f"{len(numbers)} kills of preparations: {wrong} differ after resuming", flush=True)
    return wrong


def damaged(folder: Path, numbers: range) -> int:
    """Of files that `src.prepare` reads."""
    campaign = DamageCampaign(folder)
    found = []
    for seed in track(numbers, "damaged files"):
        found.append(campaign.damage_once(seed))
        if not found[-1].is_good:
            print(f"  {seed}: {found[-1]}", flush=True)
    wrong = [case for case in found if not case.is_good]
    outcomes = Counter((case.kind, case.outcome) for case in found if case.is_good)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind:8} {outcome:10} {number}")
    print(f"{len(found)} damaged files: {len(wrong)} went wrong")
    return len(wrong)


def training_kills(folder: Path, numbers: range) -> int:
    """Of `src.train`, AR-Seg and TDNet in turn."""
    campaign, wrong = TrainingKills(folder), 0
    for seed in numbers:
        kill = campaign.kill_once(list(METHODS)[seed % len(METHODS)], seed)
        wrong += bool(kill.wrong)
        print(f"{kill.method} killed at {kill.place}: {kill.wrong or 'ends like the undisturbed run'}", flush=True)
    print(f"{len(numbers)} kills of trainings: {wrong} differ after resuming")
    return wrong


def endings(folder: Path, numbers: range) -> int:
    """Of every command, by a signal or a scarce resource."""
    campaign, wrong = Endings(folder), 0
    chosen = list(enumerate(cases()))[numbers.start : numbers.stop]
    for seed, case in chosen:
        found = campaign.end_once(case, seed)
        wrong += bool(found.wrong)
        ended = f"{found.end.status} after {found.end.seconds:.0f} s, {found.wrong or 'fine'} ({found.end.last})"
        print(f"{seed}: {found.command}: {found.way}: {ended}"[:600], flush=True)
    print(f"{len(chosen)} endings of commands: {wrong} went wrong", flush=True)
    return wrong


def mistakes(folder: Path, numbers: range) -> int:
    """On the command line of every command, and in the configuration of `src.train`."""
    logging.getLogger("src").setLevel(logging.ERROR)
    (folder / "shell").mkdir()
    chosen = slice(numbers.start, numbers.stop)
    shell, lines, wrong = Shell(folder / "shell"), read_lines()[chosen], 0
    with ThreadPoolExecutor(2) as pool:
        for typed in pool.map(shell.type, lines):
            wrong += bool(typed.wrong)
            print(f"{typed.wrong or 'fine'}  {typed.line.text}  {typed.end.last}"[:600], flush=True)
    print(f"{len(lines)} command lines: {wrong} are answered wrongly", flush=True)
    campaign = Mistakes(folder)
    answers = []
    for ask in (
        *(partial(campaign.by_hand, case) for case in BY_HAND[chosen]),
        *(partial(campaign.ask, [override]) for override in list(generated())[chosen]),
    ):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # of trainings
            answer = ask()
        answers.append(answer)
        line = f"{answer.outcome:8} {answer.seconds:5.1f} s  {' '.join(answer.overrides)}  {answer.message}"
        print(line[:400], flush=True)
    outcomes = Counter(answer.outcome for answer in answers)
    slowest = max((a.seconds for a in answers if a.outcome == "told"), default=0.0)
    print(f"{len(answers)} configurations: {dict(outcomes)}; the slowest answer took {slowest:.1f} s", flush=True)
    return wrong + outcomes["wrong"]


def hostile(folder: Path, numbers: range) -> int:
    """Of checkpoints and .pth files: first those made by hand, then random damage."""
    campaign = HostileFiles(folder)
    crafted = [*campaign.edited(), *campaign.releases()]
    damaged = (campaign.damaged(number - len(crafted)) for number in numbers if number >= len(crafted))
    chosen = [*crafted[numbers.start : numbers.stop], *damaged]
    answers = [campaign.ask(case) for case in track(chosen, "hostile files")]
    for (reader, outcome), number in sorted(Counter((a.kind.partition(":")[0], a.outcome) for a in answers).items()):
        print(f"{reader:10} {outcome:10} {number}")
    wrong = [answer for answer in answers if not answer.is_good]
    print(f"{len(answers)} hostile files: {len(wrong)} went wrong", flush=True)
    for answer in wrong:
        print(f"  {answer}"[:400])
    return len(wrong)


def videos(folder: Path, numbers: range) -> int:
    """Read by us and by ffmpeg; what differs for a known reason stands in brackets."""
    logging.getLogger("src").setLevel(logging.ERROR)
    chosen = list(recipes())[numbers.start : numbers.stop]
    found = sweep(folder, chosen)
    for name, what in found.items():
        for difference in what:
            print(f"{name}: {difference}")
    wrong = sum(any(not difference.startswith("(") for difference in what) for what in found.values())
    explained = sum(bool(what) for what in found.values()) - wrong
    print(f"{len(found)} videos: {wrong} differ from ffmpeg, {explained} for a known reason", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
