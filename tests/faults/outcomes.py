"""What callers saw when a fault struck, as the tests have found: the table in docs/reliability.md.

The file beside this one holds it.  A test fails when it sees something else; with AIODB_OUTCOMES=write it writes what
it sees, and `python scripts/pages/reliability.py` renews the page.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.clients import Client

FILE = Path(__file__).with_suffix(".json")

FAULTS = (
    "no such host",
    "nobody listens at the port",
    "nobody listens at the unix socket",
    "nobody answers",
    "connection closed as soon as it is opened",
    "connection reset as soon as it is opened",
    "connection closed in the handshake",
    "connection reset in the handshake",
    "wrong password",
    "no such database",
    "server is full",
    "server shuts down",
    "idle connections break",
    "server is restarted between requests",
    "server ends sessions that were idle for too long",
    "link breaks in a statement",
    "link breaks in a result",
    "link breaks in a transaction",
    "server is killed in a statement",
    "server is killed in a transaction",
    "server is stopped in a statement",
    "server is stopped in a transaction",
    "server ends a transaction that was idle for too long",
    "network falls silent in a statement",
    "network is dead in a statement",
    "server freezes in a statement",
    "all connections wait for a silent network",
    "link breaks before COMMIT",
    "COMMIT is lost on its way",
    "COMMIT arrives, its answer is lost",
    "statement takes longer than statement_timeout",
    "server has no room for a statement",
    "file has reached max_page_count",
    "disk takes no more",
    "file is locked by another process",
)
"""All that is recorded, in the order of the page."""

ONCE = "ConnectionLost once at most, nothing with check_after=0"
OWN_LIMIT = "the caller's own time limit"


def record(fault: str, client: Client, outcome: str) -> None:
    """Write down what became of a fault, or fail if it is not what was written down before."""
    assert fault in FAULTS, f"{fault!r} has no place on the page"
    if os.environ.get("AIODB_OUTCOMES") == "write":
        return _write(fault, str(client), outcome)
    known = json.loads(FILE.read_text()).get(fault, {}).get(str(client))
    assert known == outcome, f"{fault!r} was known to end otherwise: AIODB_OUTCOMES=write if that is right"
    return None


def _write(fault: str, client: str, outcome: str) -> None:
    with FILE.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # other workers of the run write, too
        outcomes = json.load(file)
        outcomes.setdefault(fault, {})[client] = outcome
        ordered = {name: dict(sorted(outcomes[name].items())) for name in FAULTS if name in outcomes}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(ordered, indent=1) + "\n")
