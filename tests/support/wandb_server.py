"""What W&B's sweep agent asks of its server, answered on this machine: `wandb agent` runs without a network.

The grid is expanded by W&B's own `sweeps`, as its server does.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from wandb.proto.wandb_internal_pb2 import Record

import sweeps

BLOCK, FULL, LAST = 32768, 1, 4  # of LevelDB's log format
VIEWER = {"id": "1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}


def expand(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments of all runs of a grid, `{name: {"value": value}}`; raises where the file is not a sweep."""
    config = sweeps.SweepConfig(sweep)
    runs: list[sweeps.SweepRun] = []
    while (run := sweeps.next_run(config, runs)) is not None and run.state != sweeps.RunState.finished:
        run.state = sweeps.RunState.finished
        runs.append(run)
    return [run.config for run in runs]


@contextmanager
def serving(sweep: dict[str, Any], count: int | None = None) -> Iterator[dict[str, str]]:
    """Serve one sweep, or its first runs, to any number of agents; the environment that an agent needs."""
    pending = list(enumerate(expand(sweep)))[:count]
    lock = threading.Lock()

    def commands(busy: bool) -> list[dict[str, Any]]:
        with lock:
            if busy:
                return []
            if not pending:
                return [{"type": "exit"}]
            index, arguments = pending.pop(0)
            return [{"type": "run", "run_id": f"trial{index}", "program": sweep["program"], "args": arguments}]

    def answer(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "agentHeartbeat" in query:
            busy = bool(json.loads(variables["runState"]))
            return {"agentHeartbeat": {"agent": {"id": "1"}, "commands": json.dumps(commands(busy))}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "1"}}}
        if "sweep(" in query:
            return {"project": {"sweep": {"config": yaml.safe_dump(sweep), "runs": {"edges": []}}}}
        return {"viewer": VIEWER}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            asked = json.loads(sent) if self.path == "/graphql" else {}
            body = json.dumps({"data": answer(asked.get("query", ""), asked.get("variables") or {})}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
            "WANDB_API_KEY": "0" * 40,
            "WANDB_ERROR_REPORTING": "false",
        }
    finally:
        server.shutdown()
        server.server_close()


def offline_records(log: Path) -> Iterator[Record]:
    """What is in the `.wandb` file of an offline run: protocol buffers in records of LevelDB's log format."""
    content, place, record = log.read_bytes(), 7, b""  # a file header of 7 bytes
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # no record header begins in what is left of a block
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            yield Record.FromString(record)
            record = b""


def offline_summary(log: Path) -> dict[str, Any]:
    """The last value of each metric in the `.wandb` file of an offline run."""
    updates = [update for record in offline_records(log) for update in record.summary.update]
    return {u.key or u.nested_key[0]: json.loads(u.value_json) for u in updates}


def offline_history(log: Path) -> list[dict[str, Any]]:
    """What the `.wandb` file of an offline run holds of its metrics, row by row."""
    rows = [record.history.item for record in offline_records(log) if record.history.item]
    return [{i.key or i.nested_key[0]: json.loads(i.value_json) for i in row} for row in rows]
