"""`python -m tests.campaigns [--kills 20] [--damaged 200] [--folder FOLDER]`: counts, and each case that went wrong."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.progress import track

from tests.campaigns.damage import DamageCampaign
from tests.campaigns.kills import KillCampaign


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills and damages what src.prepare works on.")
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed and resumed")
    parser.add_argument("--damaged", type=int, default=200, help="runs on data with one damaged file")
    parser.add_argument("--folder", type=Path, default=None, help="for data and caches; default: a temporary one")
    given = parser.parse_args()
    logging.getLogger("src").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        wrong = kills(Path(folder) / "kills", given.kills) if given.kills else 0
        wrong += damaged(Path(folder) / "damage", given.damaged)
    return min(wrong, 1)


def kills(folder: Path, count: int) -> int:
    folder.mkdir()
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
    folder.mkdir()
    campaign = DamageCampaign(folder)
    cases = [campaign.damage_once(seed) for seed in track(range(count), "damaged files")]
    wrong = [case for case in cases if not case.is_good]
    outcomes = Counter((case.kind, case.outcome) for case in cases if case.is_good)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind:8} {outcome:10} {number}")
    print(f"{count} damaged files: {len(wrong)} went wrong")
    for case in wrong:
        print(f"  {case}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
