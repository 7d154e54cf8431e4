"""Many tasks on every driver while connections are cut, servers are killed and tasks are cancelled, for minutes.

Every answer is checked, every write is noted, and at the end the rows are compared with the notes.  The exit status
is 1 if an answer was wrong, a write was lost or doubled, anything was leaked, or an error was none that a database in
trouble may cause.  `benchmarks/README.md` tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from time import monotonic, strftime
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # where the servers are

from servers import ServerMissing
from servers.odbc import load_libraries
from soak_checks import balances_are_wrong, compare, read_ledger
from soak_faults import Faults
from soak_report import Verdict, progress, table
from soak_sites import DRIVERS, SERVERS, Driver, FileSite, ServerSite
from soak_workload import BALANCE

if TYPE_CHECKING:
    from servers import PrivateServer
    from soak_sites import Site

HERE = Path(__file__).parent
CALM = 3.0  # seconds from the last fault to the end of the work
END = 60.0  # seconds that a process may take to end its work
QUICK = ("sqlite", "sqlite@trio", "asyncpg", "pymysql@trio")


class Process:
    """The process of one driver."""

    def __init__(self, driver: Driver, site: Site, folder: Path, share: float, seed: int) -> None:
        self.driver = driver
        self.site = site
        self.ledger = folder / f"{driver}.ledger"
        self.log = folder / f"{driver}.log"
        self.reports: dict[str, Any] = {}
        """The last report of each event."""
        self._said = threading.Condition()
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(  # noqa: S603 - a program of our own
                [sys.executable, HERE / "soak_worker.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}:{HERE.parent / 'tests'}"},
            )
        threading.Thread(target=self._listen, daemon=True).start()
        order = {"url": site.url, "dialect": driver.dialect, "loop": driver.loop, "seed": seed, "share": share}
        self.say(json.dumps({**order, "ledger": str(self.ledger)}))

    def say(self, line: str) -> None:
        """Tell the process something; whether it is there shows in what it answers."""
        try:
            print(line, file=self.popen.stdin, flush=True)
        except BrokenPipeError:
            print(f"{self.driver}: its process has ended", file=sys.stderr)

    def wait(self, event: str, seconds: float) -> bool:
        """Wait until the process has reported an event, and return whether it has."""
        with self._said:
            self._said.wait_for(lambda: event in self.reports or "closed" in self.reports, seconds)
        return event in self.reports

    @property
    def last(self) -> dict[str, Any]:
        """The last report of any kind."""
        return self.reports.get("last", {})

    def end(self) -> int:
        """See the process off and return its exit status, which is negative for a signal."""
        try:
            return self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def _listen(self) -> None:
        for line in self.popen.stdout or ():
            report = json.loads(line)
            with self._said:
                self.reports[report["event"]] = self.reports["last"] = report
                self._said.notify_all()
        with self._said:
            self.reports["closed"] = True
            self._said.notify_all()


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.seconds = 4.0 if options.quick else options.minutes * 60
        self.every = options.every
        self.choose = random.Random(options.seed)  # noqa: S311 - so that it can be repeated
        self.folder = folder
        self.sites: dict[str, Site] = {}
        self.servers: dict[str, PrivateServer] = {}
        self.processes: list[Process] = []
        names = options.drivers or (QUICK if options.quick else DRIVERS)
        drivers = [Driver.parse(name) for name in names]
        for driver in drivers:
            try:
                self._open(driver)
            except ServerMissing as error:
                if options.drivers:
                    raise
                print(f"{driver} is left out: {error}")
        self.faults = Faults(self.sites, self.servers, self.choose)
        share = options.load / max(1, len(self.sites))
        for driver in drivers:
            if str(driver) in self.sites:
                site = self.sites[str(driver)]
                self.processes.append(Process(driver, site, folder, share, self.choose.randrange(1 << 30)))

    def _open(self, driver: Driver) -> None:
        if driver.dialect in SERVERS and driver.dialect not in self.servers:
            self.servers[driver.dialect] = server = SERVERS[driver.dialect]()
            server.start()
        server_of = self.servers.get(driver.dialect)
        self.sites[str(driver)] = ServerSite(driver, server_of) if server_of else FileSite(driver, self.folder)

    def run(self) -> list[Verdict]:
        """Work, do harm, and judge."""
        for process in self.processes:
            process.wait("ready", END)
            process.say(str(self.seconds))
        for process in self.processes:
            process.wait("working", END)
        began = shown = monotonic()
        while monotonic() < began + self.seconds - min(CALM, self.seconds / 4):
            self.faults.strike()
            if monotonic() > shown + self.every:
                shown = monotonic()
                print(f"after {shown - began:.0f} s", *map(self._progress, self.processes), sep="\n  ", flush=True)
        self.faults.heal()
        for process in self.processes:
            process.wait("worked", max(1.0, began + self.seconds + END - monotonic()))
            process.say("all is well")
        # All at once, so that nobody's connections grow old while another one is judged.
        verdicts = [self._judge(process, began + self.seconds + END) for process in self.processes]
        for site in self.sites.values():
            site.close()
        for server in self.servers.values():
            server.remove()
        return verdicts

    def _progress(self, process: Process) -> str:
        return progress(str(process.driver), process.last, self.faults.counts[str(process.driver)])

    def _judge(self, process: Process, until: float) -> Verdict:
        """Have a process end, and find out what it has done and left behind."""
        site, wrong = process.site, Counter[str]()
        if not process.wait("idle", max(1.0, until - monotonic())):
            wrong["did not end"] = 1
            process.popen.kill()
        else:
            wrong["open transactions"] = site.settled(site.open_transactions)
            process.say("go on")
            if not process.wait("end", END):
                wrong["did not disconnect"] = 1
                process.popen.kill()
        wrong["exit status"] = process.end()
        wrong["sessions left"] = site.settled(site.sessions)
        balances, transfers = site.money()
        findings = compare(read_ledger(process.ledger), site.written())
        problem = balances_are_wrong(BALANCE, balances, transfers)
        wrong["money"] = problem is not None
        details = [line for lines in findings for line in lines[:5]] + [problem] * (problem is not None)
        wrong.update({name: len(lines) for name, lines in findings._asdict().items()})
        details.append(process.log.read_text()[-3000:])
        faults = self.faults.counts[str(process.driver)]
        return Verdict(
            str(process.driver),
            {**process.last, **process.reports.get("idle", {})},
            process.reports.get("end", {}).get("left", {}),
            faults,
            wrong,
            list(filter(None, details)),
        )


def main() -> None:
    """Read the command line, run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--drivers", nargs="+", metavar="DRIVER", help=f"some of: {', '.join(DRIVERS)}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--load", type=float, default=0.6, help="processor cores that all drivers together may use")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between the lines that tell how it goes")
    parser.add_argument("--quick", action="store_true", help="some seconds, on what is installed, to see that it works")
    options = parser.parse_args()
    load_libraries()
    os.environ.setdefault("PGSSLMODE", "disable")
    print(f"soak with --seed {options.seed}, {strftime('%Y-%m-%d %H:%M')}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        verdicts = Soak(options, Path(folder)).run()
    for verdict in verdicts:
        verdict.explain()
    print(table(verdicts))
    sys.exit(any(verdict.is_bad for verdict in verdicts))


if __name__ == "__main__":
    main()
