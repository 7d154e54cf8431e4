"""The event loops that the tests of the benchmarks run on."""

from __future__ import annotations

from typing import Any

import pytest

from loops import backend


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run every `async def` test on each event loop."""
    return backend(request.param)
