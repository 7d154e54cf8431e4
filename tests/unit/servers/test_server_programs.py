"""The harness itself: the programs of servers are found or fetched, and what is missing is said."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from servers import ServerError, ServerMissing, galera, install, programs
from servers.etcd import find_etcd
from servers.galera import find_galera
from servers.haproxy import find_haproxy
from servers.install import Need
from servers.patroni import find_patroni
from servers.pgbouncer import find_pgbouncer
from servers.pgpool import find_pgpool
from servers.programs import (
    MARIADB_BASE,
    POSTGRES_BIN,
    Programs,
    environment_of,
    find_mariadb,
    find_postgres,
    find_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Finder(NamedTuple):
    find: Callable[[], Programs]
    variable: str
    names: tuple[str, str]
    sentence: str


FINDERS = [
    Finder(find_postgres, POSTGRES_BIN, ("postgres", "initdb"), "there is no initdb and postgres in it"),
    Finder(
        find_mariadb,
        MARIADB_BASE,
        ("sbin/mariadbd", "bin/mariadb-install-db"),
        "there is no mariadbd and mariadb-install-db under it",
    ),
]


def make_programs(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch(mode=0o755)


@pytest.mark.parametrize("finder", FINDERS)
def test_a_named_folder_without_the_programs_is_said(monkeypatch, tmp_path, finder):
    monkeypatch.setenv(finder.variable, str(tmp_path))
    make_programs(tmp_path, finder.names[0])
    with pytest.raises(ServerMissing, match=f"{finder.variable} names .*{finder.sentence}"):
        finder.find()


@pytest.mark.parametrize("finder", FINDERS)
def test_the_programs_of_a_named_folder_are_taken(monkeypatch, tmp_path, finder):
    monkeypatch.setenv(finder.variable, str(tmp_path))
    make_programs(tmp_path, *finder.names)
    assert finder.names == tuple(str(path.relative_to(tmp_path)) for path in finder.find()[:2])


def test_programs_under_the_names_of_mysql_are_taken(monkeypatch, tmp_path):
    monkeypatch.setenv(MARIADB_BASE, str(tmp_path))
    make_programs(tmp_path, "bin/mysqld", "scripts/mysql_install_db")
    found = find_mariadb()
    assert (tmp_path / "bin/mysqld", tmp_path / "scripts/mysql_install_db", tmp_path) == found[:3]


@pytest.mark.parametrize("finder", FINDERS)
def test_a_machine_without_the_programs_is_told_what_to_do(monkeypatch, finder):
    monkeypatch.delenv(finder.variable, raising=False)
    monkeypatch.setattr(programs.shutil, "which", lambda *_, **__: None)
    with pytest.raises(ServerMissing, match=f"run scripts/test, which gets it, or set {finder.variable}"):
        finder.find()


def test_unpacked_programs_are_run_with_their_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(programs.os, "get_exec_path", list)
    unpacked = tmp_path / "unpacked/mysql/usr"
    (unpacked / "lib/x86_64-linux-gnu").mkdir(parents=True)
    make_programs(unpacked, "sbin/mariadbd", "bin/mariadb-install-db")
    found = list(programs._mariadb_of_machine())[-1]
    assert unpacked == found.base
    assert f"{unpacked}/lib/x86_64-linux-gnu:{unpacked}/lib" == found.environment()["LD_LIBRARY_PATH"]


@pytest.mark.parametrize("name", ["PGPORT", "MYSQL_HOME", "MARIADB_HOME"])
def test_settings_of_the_user_do_not_reach_the_server(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert name not in Programs(Path("server"), Path("setup")).environment()


def test_a_program_that_fails_is_quoted():
    shell = Programs(Path("/bin/sh"), Path("/bin/sh"))
    assert shell.run(shell.server, "-c", "cat", text="fine\n") == "fine\n"
    with pytest.raises(ServerError, match=r"/bin/sh failed with exit status 3; it said:\nno luck"):
        shell.run(shell.server, "-c", "echo no luck; exit 3")


class Thing:
    """Something to be installed, by ways that are lists of what they bring."""

    def __init__(self, name, *, there=False, given=None, place=None):
        self.there = there
        self.tried = []
        self.need = Need(name, name.title(), self.find, (name,), given=given, place=place)

    def find(self):
        if not self.there:
            raise ServerMissing(f"there is no {self.need.name}")


@pytest.fixture
def install_things(monkeypatch, capsys):
    """Give a function that runs the installer on things, and returns its exit status and what it says."""

    def run(*things, ways):
        by_need = {thing.need: thing for thing in things}

        def way_of(succeeds):
            def way(need):
                """Try to get {}."""
                by_need[need].tried.append(succeeds)
                if not succeeds:
                    raise subprocess.CalledProcessError(1, "get", stderr="first\nbroken pipe\n")
                by_need[need].there = True

            return way

        monkeypatch.setattr(install, "NEEDS", tuple(by_need))
        monkeypatch.setattr(install, "_ways", lambda _: list(map(way_of, ways)))
        return install.main(), capsys.readouterr().err

    monkeypatch.setenv("AIODB_REQUIRE", "all")
    return run


def test_each_missing_thing_is_got_alone(install_things):
    things = [Thing("a", there=True), Thing("b"), Thing("c")]
    status, said = install_things(*things, ways=[False, True])
    assert status == 0
    assert [thing.tried for thing in things] == [[], [False, True], [False, True]]
    assert "Try to get B.\nthat failed: broken pipe\nTry to get B.\nTry to get C.\n" in said


def test_what_cannot_be_got_is_said_and_does_not_keep_from_the_rest(install_things):
    things = [Thing("a", given="TEST_A_URL"), Thing("b"), Thing("c", there=True)]
    status, said = install_things(*things, ways=[False])
    assert status == 1
    assert things[1].tried == [False]
    assert (
        "A could not be installed (there is no a): install it by hand, set TEST_A_URL to the URL of a server, or leave "
        "its tests out by AIODB_REQUIRE=b,c, or all tests of servers by scripts/test --quick\n"
    ) in said


def test_what_is_not_required_or_given_is_not_got(install_things, monkeypatch):
    monkeypatch.setenv("AIODB_REQUIRE", "b")
    monkeypatch.setenv("TEST_B_URL", "b://")
    things = [Thing("a"), Thing("b", given="TEST_B_URL")]
    assert install_things(*things, ways=[True]) == (0, "")
    assert [thing.tried for thing in things] == [[], []]


def test_a_wrong_place_is_said_instead_of_getting_another(install_things, monkeypatch):
    monkeypatch.setenv("AIODB_A_BIN", "/nowhere")
    thing = Thing("a", place="AIODB_A_BIN")
    assert install_things(thing, ways=[True]) == (1, "there is no a\n")
    assert thing.tried == []


def test_a_machine_without_a_package_manager_has_one_way_for_postgres_and_none_for_the_rest(monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda _: None)
    ways = {need.name: install._ways(need) for need in install.NEEDS}
    assert [install._install_from_index] == ways.pop("postgres")
    assert {name: [] for name in ("mysql", "pgbouncer", "galera", "patroni", "pgpool", "odbc")} == ways


@pytest.mark.parametrize("find", [find_etcd, find_galera, find_haproxy, find_patroni, find_pgbouncer, find_pgpool])
def test_a_machine_without_a_part_of_a_cluster_is_told_what_to_do(monkeypatch, tmp_path, find):
    monkeypatch.setattr(programs.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(galera, "SYSTEM", tmp_path)
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    with pytest.raises(ServerMissing, match="not installed on this machine: run scripts/test, which gets it"):
        find()


def test_an_unpacked_program_is_found_and_run_with_its_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    unpacked = tmp_path / "unpacked/thing/usr"
    (unpacked / "lib/x86_64-linux-gnu").mkdir(parents=True)
    make_programs(unpacked, "sbin/thing-of-the-tests")
    assert unpacked / "sbin/thing-of-the-tests" == find_program("thing-of-the-tests", "Thing", "thing")
    assert f"{unpacked}/lib/x86_64-linux-gnu:{unpacked}/lib" == environment_of("thing")["LD_LIBRARY_PATH"]
