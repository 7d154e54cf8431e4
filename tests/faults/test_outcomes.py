"""The table of docs/reliability.md is complete, and what the tests have found."""

from __future__ import annotations

import json

import pytest

import pages
import reliability
from faults.clients import FILES, NETWORK
from faults.outcomes import FAULTS, FILE

ON_FILES = {
    "file has reached max_page_count": FILES,
    "disk takes no more": FILES,
    "file is locked by another process": [client for client in FILES if not client.odbc],
}
ON_FEWER_SERVERS = {
    "server shuts down": [client for client in NETWORK if client.dialect == "postgresql"],
    "network is dead in a statement": [client for client in NETWORK if client.keeps_alive],
}
"""The other faults concern every server."""


def test_every_fault_was_tried_on_every_driver_that_it_concerns():
    outcomes = json.loads(FILE.read_text())
    assert list(FAULTS) == list(outcomes)
    for fault, clients in outcomes.items():
        concerned = {**ON_FILES, **ON_FEWER_SERVERS}.get(fault, NETWORK)
        assert set(map(str, concerned)) == set(clients), fault


@pytest.mark.parametrize(("page", "parts"), reliability.pages().items())
def test_the_table_of_outcomes_is_what_the_tests_have_found(page, parts):
    assert page.read_text(encoding="utf-8") == pages.renewed(page, parts), "run `python scripts/pages/reliability.py`"
