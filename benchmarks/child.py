"""Runs a system in a process of its own: reads what to do, and writes how long it took, in lines of JSON.

The suite starts it with a Python that has another release of this library, and with ``-I``, so that nothing but that
Python's own packages and this folder can be imported.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from systems.address import Address

if TYPE_CHECKING:
    from systems.base import System


async def serve(system: System) -> None:
    """Do what is asked for, until nobody asks any more."""
    await system.open()
    print(json.dumps({"version": version("aio-databases")}), flush=True)
    frozen = False
    # Nothing else has to go on here while the next question is waited for.
    for line in sys.stdin:
        order = json.loads(line)
        if not frozen:
            gc.collect()
            gc.freeze()
            frozen = True
        sample = await system.run(order["workload"], order["count"])
        print(json.dumps(sample), flush=True)
    await system.close()


def main() -> None:
    """Read what to run from the first line."""
    order = json.loads(sys.stdin.readline())
    cls: type[System] = getattr(import_module(order["module"]), order["class"])
    new_event_loop = import_module(order["event_loop"]).new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(cls(Address(*order["address"]))))


if __name__ == "__main__":
    main()
