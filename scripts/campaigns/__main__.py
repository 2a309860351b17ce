"""`python -m scripts.campaigns [NAME ...]`: counts, and each case that went wrong.

Names are preparation-kills, damage, training-kills, endings, mistakes, hostile and videos; without one, all of them.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from scripts.campaigns.damage import DamageCampaign
from scripts.campaigns.endings import Endings, cases
from scripts.campaigns.hostile import HostileFiles
from scripts.campaigns.kills import KillCampaign
from scripts.campaigns.mistakes import BY_HAND, Mistakes, generated
from scripts.campaigns.shell import Shell, read_lines
from scripts.campaigns.training_kills import METHODS, TrainingKills
from scripts.campaigns.videos import recipes, sweep


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
    counts = {"preparation-kills": 20, "damage": 400, "training-kills": 10, "endings": sys.maxsize}
    counts |= {"mistakes": sys.maxsize, "hostile": 1000, "videos": sys.maxsize}
    parser.add_argument("names", nargs="*", default=list(campaigns), metavar="NAME", help=", ".join(campaigns))
    parser.add_argument("--count", type=int, default=None, help=f"cases of each; default: {counts}")
    parser.add_argument("--folder", type=Path, default=None, help="for data and caches; default: a temporary one")
    given = parser.parse_args()
    if unknown := set(given.names) - campaigns.keys():
        parser.error(f"unknown: {', '.join(unknown)}; choose among {', '.join(campaigns)}")
    logging.getLogger("src").addHandler(logging.NullHandler())
    wrong = 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in given.names:
            (Path(folder) / name).mkdir()
            wrong += campaigns[name](Path(folder) / name, given.count or counts[name])
    return min(wrong, 1)


def kills(folder: Path, count: int) -> int:
    """Of `src.prepare`."""
    campaign = KillCampaign(folder)
    found = [campaign.kill_once(seed) for seed in track(range(count), "kills")]
    wrong = [kill for kill in found if kill.wrong]
    files = ", ".join(str(kill.files) for kill in found)
    print(
        f"{count} kills, at {files} of {len(campaign.expected)} files: {len(wrong)} differ after resuming", flush=True
    )
    for kill in wrong:
        print(f"  killed at {kill.files} files: {kill.wrong}")
    return len(wrong)


def damaged(folder: Path, count: int) -> int:
    """Of files that `src.prepare` reads."""
    campaign = DamageCampaign(folder)
    found = [campaign.damage_once(seed) for seed in track(range(count), "damaged files")]
    wrong = [case for case in found if not case.is_good]
    outcomes = Counter((case.kind, case.outcome) for case in found if case.is_good)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind:8} {outcome:10} {number}")
    print(f"{count} damaged files: {len(wrong)} went wrong")
    for case in wrong:
        print(f"  {case}")
    return len(wrong)


def training_kills(folder: Path, count: int) -> int:
    """Of `src.train`, AR-Seg and TDNet in turn."""
    campaign, wrong = TrainingKills(folder), 0
    for seed in range(count):
        kill = campaign.kill_once(list(METHODS)[seed % len(METHODS)], seed)
        wrong += bool(kill.wrong)
        print(f"{kill.method} killed at {kill.place}: {kill.wrong or 'ends like the undisturbed run'}", flush=True)
    print(f"{count} kills of trainings: {wrong} differ after resuming")
    return wrong


def endings(folder: Path, count: int) -> int:
    """Of every command, by a signal or a scarce resource."""
    campaign, wrong = Endings(folder), 0
    chosen = list(cases())[:count]
    for seed, case in enumerate(chosen):
        found = campaign.end_once(case, seed)
        wrong += bool(found.wrong)
        verdict = found.wrong or "fine"
        print(f"{found.command}: {found.way}: {found.end.status} {verdict} ({found.end.last})"[:600], flush=True)
    print(f"{len(chosen)} endings of commands: {wrong} went wrong", flush=True)
    return wrong


def mistakes(folder: Path, count: int) -> int:
    """On the command line of every command, and in the configuration of `src.train`."""
    logging.getLogger("src").setLevel(logging.ERROR)
    (folder / "shell").mkdir()
    shell, lines, wrong = Shell(folder / "shell"), read_lines()[:count], 0
    with ThreadPoolExecutor(2) as pool:
        for typed in pool.map(shell.type, lines):
            wrong += bool(typed.wrong)
            print(f"{typed.wrong or 'fine'}  {typed.line.text}  {typed.end.last}"[:600], flush=True)
    print(f"{len(lines)} command lines: {wrong} are answered wrongly", flush=True)
    campaign = Mistakes(folder)
    answers = [campaign.by_hand(case) for case in BY_HAND[:count]]
    answers += [campaign.ask([override]) for override in list(generated())[:count]]
    for answer in answers:
        print(f"{answer.outcome:8} {answer.seconds:5.1f} s  {' '.join(answer.overrides)}  {answer.message}"[:400])
    outcomes = Counter(answer.outcome for answer in answers)
    slowest = max((a.seconds for a in answers if a.outcome == "told"), default=0.0)
    print(f"{len(answers)} configurations: {dict(outcomes)}; the slowest answer took {slowest:.1f} s", flush=True)
    return wrong + outcomes["wrong"]


def hostile(folder: Path, count: int) -> int:
    """Of checkpoints and .pth files: first those made by hand, then random damage."""
    campaign = HostileFiles(folder)
    crafted = [*campaign.edited(), *campaign.releases()]
    damaged = (campaign.damaged(seed) for seed in range(max(0, count - len(crafted))))
    answers = [campaign.ask(case) for case in track([*crafted[:count], *damaged], "hostile files")]
    for (reader, outcome), number in sorted(Counter((a.kind.partition(":")[0], a.outcome) for a in answers).items()):
        print(f"{reader:10} {outcome:10} {number}")
    wrong = [answer for answer in answers if not answer.is_good]
    print(f"{len(answers)} hostile files: {len(wrong)} went wrong", flush=True)
    for answer in wrong:
        print(f"  {answer}"[:400])
    return len(wrong)


def videos(folder: Path, count: int) -> int:
    """Read by us and by ffmpeg; what differs for a known reason stands in brackets."""
    logging.getLogger("src").setLevel(logging.ERROR)
    chosen = list(recipes())[:count]
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
