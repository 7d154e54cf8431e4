"""What the drivers for MySQL and MariaDB do without a server: literals, batches, arguments, errors, and logins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from importlib import import_module
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio_databases import ConfigurationError, ConnectError, Database, errors
from aio_databases.dialects.error_codes import kind_of_mysql_errno
from aio_databases.drivers.mysql.literals import literal, with_values
from aio_databases.sql.insert_batches import split_values
from aio_databases.sql.translator import Translator
from unit.mysql_server import OK, ScriptedServer, answer_queries, greeting, sha2_login

SCHEMES = ("asyncmy", "aiomysql", "pymysql", "trio-mysql")
LOOPS = [("asyncmy", "asyncio"), ("aiomysql", "asyncio"), ("pymysql", "asyncio"), ("pymysql", "trio")]
LOOPS.append(("trio-mysql", "trio"))


def driver(scheme="asyncmy", place="app:secret@db.example/shop", **options):
    return Database(f"{scheme}://{place}", **options).backend


# Literals


def kind_of(value):
    return type(value).__name__


class Colour(Enum):
    RED = "it's red"


class Size(IntEnum):
    BIG = 3


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (False, "0"),
        (-7, "-7"),
        (2**64, "18446744073709551616"),
        (1.5, "1.5e0"),
        (-1e-300, "-1e-300"),
        (Decimal("-12.50"), "-12.50"),
        (Decimal("1E+3"), "1000"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("a\\", "'a\\\\'"),
        (Word("x'"), "'x'''"),
        (b"it's\\\0", "_binary x'697427735c00'"),
        (bytearray(b"x"), "_binary x'78'"),
        (memoryview(b"x"), "_binary x'78'"),
        (b"\xff", "_binary x'ff'"),
        (b"", "_binary x''"),
        (datetime(2026, 1, 2, 3, 4, 5, 678901), "'2026-01-02 03:04:05.678901'"),  # noqa: DTZ001 - they have no zone
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "'2026-01-02 03:04:05'"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5))), "'2026-01-01 22:04:05'"),
        (date(2026, 1, 2), "'2026-01-02'"),
        (time(3, 4, 5), "'03:04:05'"),
        (time(3, 4, 5, 6), "'03:04:05.000006'"),
        (timedelta(days=2, hours=1), "'49:00:00'"),
        (-timedelta(seconds=1, microseconds=5), "'-00:00:01.000005'"),
        (UUID(int=5), "'00000000-0000-0000-0000-000000000005'"),
        ({"a": ["it's", None]}, """'{"a": ["it''s", null]}'"""),
        (["a'", 1], "'[\"a''\", 1]'"),
        (("a'", 1), "('a''', 1)"),
        ((), "()"),
        (Colour.RED, "'it''s red'"),
        (Size.BIG, "3"),
    ],
    ids=kind_of,
)
def test_a_value_is_written_as_mysql_reads_it(value, text):
    assert text == literal(value, backslashes=True)


@pytest.mark.parametrize(
    "value", [float("nan"), float("-inf"), Decimal("NaN"), object(), {1}, 1j, time(tzinfo=UTC)], ids=kind_of
)
def test_a_value_that_mysql_lacks_is_refused(value):
    with pytest.raises(errors.DataError, match="MySQL"):
        literal(value, backslashes=True)


def test_half_a_character_is_refused():
    for text in ("\ud800", "\udcff"):  # the second one would be sent as a raw byte
        with pytest.raises(UnicodeEncodeError):
            literal(text, backslashes=True)


def quoted(hexadecimal, *, backslashes):
    """Give a text in quotes for one in hexadecimal."""
    text = bytes.fromhex(hexadecimal).decode(errors="surrogateescape").replace("'", "''")
    return f"'{text}'".replace("\\", "\\\\" if backslashes else "\\")


def read_literals(sql, *, backslashes):
    """Read SQL that consists of string literals, as MySQL does, and return their texts."""
    sql = re.sub(r"(?:_\w+ )?x'([0-9a-f]*)'", lambda found: quoted(found[1], backslashes=backslashes), sql)
    inside = r"(?:[^'\\]|''|\\.)*" if backslashes else r"(?:[^']|'')*"
    assert re.fullmatch(rf"\((?:'{inside}'(?:, )?)*\)", sql, re.DOTALL), sql
    texts = re.findall(rf"'({inside})'(?=, |\))", sql, re.DOTALL)
    texts = [text.replace("''", "'") for text in texts]
    return [re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) for text in texts] if backslashes else texts


@given(
    st.lists(st.text(st.sampled_from("'\\\"%a\0\né🐘, ()")), min_size=1),
    st.booleans(),
)
def test_no_text_ends_its_literal(texts, backslashes):
    assert texts == read_literals(literal(tuple(texts), backslashes), backslashes=backslashes)


@given(st.binary(), st.booleans())
def test_no_bytes_end_their_literal(data, backslashes):
    assert f"_binary x'{data.hex()}'" == literal(data, backslashes)


def test_many_bytes_take_a_third_more_room_and_not_twice_as_much():
    data = bytes(range(256)) * 5000
    sql = literal(data, backslashes=True)
    assert data == b64decode(sql.removeprefix("from_base64('").removesuffix("')"), validate=True)


@pytest.mark.parametrize("backslashes", [True, False])
def test_a_backslash_beside_other_characters_is_safe_in_any_mode_and_character_set(backslashes):
    assert literal("縗\\'", backslashes) == "_utf8mb4 x'e7b8975c27'"
    assert ("'\\\\''x'" if backslashes else "_utf8mb4 x'5c2778'") == literal("\\'x", backslashes)


@pytest.mark.parametrize(
    "statement",
    [
        "set names gbk",
        "SET NAMES 'big5'",
        "set character set sjis",
        "set @a = 1, session character_set_client = cp932",
        "set @@character_set_client = gbk",
    ],
)
def test_the_character_set_of_the_connection_stays(statement):
    with pytest.raises(errors.ProgrammingError, match="is utf8mb4 and must stay so"):
        Translator("mysql", "format").bind(statement, ())


@pytest.mark.parametrize("statement", ["set names utf8mb4", "set names 'utf8mb3'", "set character set default"])
def test_the_character_set_may_be_set_to_what_it_is(statement):
    assert Translator("mysql", "format").bind(statement, ())[0].session


def test_values_are_put_where_the_marks_are():
    assert (
        with_values("select 1 from t where a like 'x%%'", (), backslashes=True) == "select 1 from t where a like 'x%'"
    )
    assert with_values("select %s, 100%%", ("%s",), backslashes=True) == "select '%s', 100%"
    assert with_values("select %(b)s, %(a)s, %(a)s", {"a": 1, "b": "b"}, backslashes=True) == "select 'b', 1, 1"


@pytest.mark.parametrize(
    ("sql", "params"), [("%s", (1, "secret")), ("%s %s", ("secret",)), ("%(a)s", {"b": "secret"}), ("5 % 3", (1,))]
)
def test_values_that_do_not_match_the_marks_are_not_shown(sql, params):
    with pytest.raises(errors.ProgrammingError, match="do not match the placeholders") as caught:
        with_values(sql, params, backslashes=True)
    assert "secret" not in str(caught.value)


# Batches


@pytest.mark.parametrize(
    ("head", "row", "rest", "tail"),
    [
        ("insert into t (a, b) values ", "(%s, %s)", "", ""),
        ("INSERT INTO t(a)VALUES", "(%s)", "", ""),
        ("insert t value ", "(%s)", "", ""),
        ("replace into t values ", "(%s, 1, now(), 'it''s %%s)', \"(\")", " ", ""),
        ("insert into t (a)\nvalues\n  ", "(\n  %s -- ) the first\n)", "\n", ""),
        ("/* all */ insert ignore into `values` (`select`) values ", "(%s)", "", ""),
        ("insert into t values ", "(%s)", " on duplicate key update a = values(a), b = '%%'", None),
        ("insert into t values ", "(%s)", " as new on duplicate key update a = new.a", None),
        ("insert into t values ", "(%s, default(b), f((1 + 2) * %s))", " returning id", None),
        ("insert into t (a) values ", "(%(a)s)", "", ""),
        ("insert into t partition (p0) (a) values ", "(%s)", " -- done", ""),
        ("insert into t values ", "(%s)", ";", ""),
        ("insert into t values ", "(%s)", " returning id ; -- done\n", " returning id "),
        ("insert /*+ SET_VAR(x=1) */ into t values ", "(%s)", "", ""),
    ],
)
def test_an_insert_of_one_row_is_split(head, row, rest, tail):
    assert (head, row, rest if tail is None else tail) == split_values(head + row + rest)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "update t set a = %s",
        "insert into t set a = %s on duplicate key update a = values(a)",
        "insert into t select %s on duplicate key update a = values(a)",
        "insert into t (a) with x as (select 1) select %s from x",
        "insert into t table u",
        "insert into t values (%s), (%s)",
        "insert into t values (1)",
        "insert into t values ('%%s')",
        "insert into t values (%s) on duplicate key update a = %s",
        "insert into t values (%s); delete from t",
        "insert into t values (%s) -- %s",
        "insert into %s values (1)",
        "insert into t values (%s, (select max(a) from t))",
        "insert into t values (%s, last_insert_id())",
        "insert into t values (%s, '\\')') -- '",
        "insert into t values (%s /*! , 1 */)",
        "insert into t /*M!100100 (a) */ values (%s)",
        "insert into t values row(%s)",
        "insert into t values (%s",
        "select * from (values (%s)) t",
        "explain insert into t values (%s)",
    ],
)
def test_what_must_not_be_batched_is_not_split(sql):
    assert split_values(sql) is None


GAPS = st.sampled_from([" ", "\n", " /* ) values ( */ ", " -- ( values (\n", " # 'select\n"])
EXPRESSIONS = st.sampled_from(["%s", "1", "now()", "'it''s )%%s'", '"(,"', "`values`", "f(%s, (2 + 3))", "default"])
TAILS = st.sampled_from(
    ["", " on duplicate key update a = values(a)", " returning id, (1)", " as new", " /* end */ as new"]
)


@given(GAPS, GAPS, st.lists(st.tuples(EXPRESSIONS, GAPS), min_size=1), TAILS)
def test_every_row_with_a_mark_is_found(gap, other, expressions, tail):
    head = f"insert{gap}into t{other}(a, `select`){gap}values{other}"
    row = f"({', '.join(f'{expression}{space}' for expression, space in expressions)})"
    has_mark = any(expression in {"%s", "f(%s, (2 + 3))"} for expression, _ in expressions)
    assert ((head, row, tail) if has_mark else None) == split_values(head + row + tail)


PIECES = ["insert ", "into t ", "values", "(", ")", "%s", "%%", "'", "''", '"', "`", "--", " -- x\n", "/*", "*/", "#"]
PIECES += [",", ";", " ", "select ", "set ", "a", "\n", "value", "on duplicate key update a=1"]


@given(st.lists(st.sampled_from(PIECES)))
def test_the_parts_of_an_insert_are_the_insert(pieces):
    sql = f"insert into t values (%s{''.join(pieces)}"
    split = split_values(sql)
    if split is not None:
        whole = "".join(split)
        assert sql.startswith(whole)
        assert re.fullmatch(r"(?:\s|;|--\s[^\n]*|--\Z|#[^\n]*|/\*.*?\*/)*", sql[len(whole) :], re.DOTALL)
        assert split.row[0] + split.row[-1] == "()"
        assert sql.replace("%%", "").count("%s") == split.row.replace("%%", "").count("%s")


# Options


@pytest.mark.parametrize("scheme", ["mysql", *SCHEMES])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"charset": "latin1"}, "'utf8mb4'"),
        ({"charset": "gbk"}, "'utf8mb4'"),
        ({"autocommit": False}, "transaction()"),
        ({"found_rows": "maybe"}, "true or false"),
        ({"ssl": "sometimes"}, "verify-full"),
        ({"statement_timeout": -1}, "0 or more"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused(scheme, options, told):
    with pytest.raises(ConfigurationError) as caught:
        driver(scheme, **options)
    assert told in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_library_is_told_where_to_connect_and_as_whom(scheme):
    arguments = await driver(scheme).arguments()
    database = {"aiomysql": "db"}.get(scheme, "database")
    assert {"host": "db.example", "user": "app", "password": "secret", database: "shop"}.items() <= arguments.items()
    assert {"autocommit": None, "charset": "utf8mb4", "client_flag": 2}.items() <= arguments.items()
    assert not {"port", "ssl", "unix_socket", "program_name"} & arguments.keys()
    again = await driver(scheme, "[::1]:3307", charset="utf8mb3", found_rows=False, autocommit=True).arguments()
    assert {"host": "::1", "port": 3307, "client_flag": 0}.items() <= again.items()
    assert not {"user", "password", "db", "database"} & again.keys()


async def test_a_unix_socket_is_an_option_or_a_host_that_begins_with_a_slash():
    for given_ in (
        driver(unix_socket="/run/my.sock"),
        driver(place="%2Frun%2Fmy.sock/shop"),
        driver(host="/run/my.sock"),
    ):
        given_.options["ssl"] = "verify-full"
        arguments = await given_.arguments()
        assert arguments["unix_socket"] == "/run/my.sock"
        assert not {"host", "ssl"} & arguments.keys()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_password_can_be_asked_for(asynchronous):
    async def ask():
        return "pässwörd€"

    password = ask if asynchronous else lambda: "pässwörd€"
    # As the libraries encode it, it comes out in UTF-8.
    assert "pässwörd€".encode() == (await driver(password=password).arguments())["password"].encode("latin-1")


async def test_connect_args_come_last():
    arguments = await driver(connect_args={"database": "other", "connect_timeout": 3, "sql_mode": "ANSI"}).arguments()
    assert (arguments["database"], arguments["connect_timeout"]) == ("other", 3)
    assert "sql_mode" not in arguments  # it is set by us, after each reset again


async def test_the_name_of_an_application_is_cut_before_it_breaks_the_login():
    arguments = await driver(application_name="é" * 100).arguments()
    assert arguments["program_name"] == "é" * 32


def session(given_driver, version="11.4.2-MariaDB", *, read_only=False):
    return list(given_driver.session(version, read_only=read_only))


def test_a_session_begins_with_as_few_statements_as_possible():
    basic = "SET NAMES utf8mb4, SESSION autocommit = 1, SESSION net_write_timeout = 600"
    assert [basic] == session(driver())
    assert [basic, "SET SESSION TRANSACTION READ ONLY"] == session(driver(), read_only=True)
    assert [f"{basic}, SESSION max_statement_time = 1.500000"] == session(driver(statement_timeout=1.5))
    assert [f"{basic}, SESSION max_execution_time = 1500"] == session(driver(statement_timeout=1.5), "8.4.3")
    assert [f"{basic}, SESSION max_execution_time = 1"] == session(driver(statement_timeout=1e-5), "8.4.3")
    assert [basic] == session(driver(statement_timeout=0)) == session(driver(statement_timeout=float("inf")))
    assert [basic.replace("utf8mb4", "utf8mb3")] == session(driver(charset="utf8mb3"))
    given_options = {"sql_mode": "ANSI", "init_command": "SET @a = 1"}
    for each in (driver(**given_options), driver(connect_args=given_options)):
        assert [f"{basic}, SESSION sql_mode = 'ANSI'", "SET @a = 1"] == session(each)


def test_the_shared_parts_import_no_library():
    script = """
import sys
import aio_databases.drivers.mysql.family
print([name for name in ("pymysql", "aiomysql", "asyncmy", "trio_mysql", "trio") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# Errors

NUMBERS = {
    errors.UniqueViolation: (1062, 1586),
    errors.ForeignKeyViolation: (1216, 1217, 1451, 1452),
    errors.NotNullViolation: (1048, 1364),
    errors.CheckViolation: (3819, 4025),
    errors.DeadlockDetected: (1213,),
    errors.SerializationFailure: (1020,),
    errors.LockTimeout: (1205, 3572),
    errors.QueryTimeout: (1317, 1969, 3024),
    errors.ReadOnlyError: (1290, 1792, 1836),
    errors.ConnectionLost: (1053, 1152, 1158, 1927, 2006, 2013, 2055, 4031),
    errors.ConnectError: (1040, 1203, 2002, 2003, 2005),
    errors.AuthenticationError: (1044, 1045, 1251, 1698),
    errors.DataError: (1153, 1264, 1265, 1292, 1366, 1406, 1690),
    errors.ProgrammingError: (1049, 1054, 1064, 1065, 1146, 1149, 1305),
    errors.NotSupportedError: (1235,),
    errors.OperationalError: (1021, 1047, 1114),
    errors.DatabaseError: (1644, 9999),
}


@pytest.mark.parametrize(("kind", "numbers"), NUMBERS.items(), ids=[kind.__name__ for kind in NUMBERS])
def test_the_number_decides_the_class(kind, numbers):
    assert [kind] * len(numbers) == list(map(kind_of_mysql_errno, numbers))


WRITER = (
    "Cannot add or update a child row: a foreign key constraint fails (`shop`.`books`, CONSTRAINT `writer` "
    "FOREIGN KEY (`author`) REFERENCES `authors` (`id`))"
)
MESSAGES = [
    (1062, "Duplicate entry 'a' for key 'email'", {"constraint": "email"}),
    (1062, "Duplicate entry 'for key 'x'' for key 'users.email'", {"constraint": "email", "table": "users"}),
    (
        1452,
        WRITER,
        {"constraint": "writer", "table": "books", "columns": ("author",)},
    ),
    (1452, WRITER.replace("`author`)", "`a`, `b`)"), {"constraint": "writer", "table": "books", "columns": ("a", "b")}),
    (4025, "CONSTRAINT `positive` failed for `shop`.`books`", {"constraint": "positive", "table": "books"}),
    (3819, "Check constraint 'positive' is violated.", {"constraint": "positive"}),
    (1048, "Column 'name' cannot be null", {"column": "name"}),
    (1364, "Field 'name' doesn't have a default value", {"column": "name"}),
    (1406, "Data too long for column 'name' at row 1", {"column": "name"}),
    (1366, "Incorrect integer value: 'x' for column `shop`.`t`.`i` at row 1", {"table": "t", "column": "i"}),
    (1064, "You have an error", {}),
]


@pytest.mark.parametrize(("errno", "message", "details"), MESSAGES, ids=[message for _, message, _ in MESSAGES])
def test_the_message_tells_what_was_violated(errno, message, details):
    given_driver = driver()
    diagnosis = given_driver.diagnose(given_driver.library_error(errno, message))
    found = {name: getattr(diagnosis, name) for name in ("constraint", "table", "column", "columns")}
    assert {"constraint": None, "table": None, "column": None, "columns": None, **details} == found
    assert errno == diagnosis.errno


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_has_no_number_is_a_lost_connection_or_nothing(scheme):
    given_driver = driver(scheme)
    lost = [given_driver.library_error(*args) for args in [(0, ""), ("(0, 'Not connected')",), ("Already closed",), ()]]
    lost += [EOFError(), ConnectionResetError(), TimeoutError()]
    lost += [RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False 0x1>")]
    lost += [RuntimeError("Transport does not expose socket instance")]  # of uvloop, when the link breaks at once
    if scheme == "trio-mysql":
        trio = import_module("trio")
        lost += [trio.ClosedResourceError(), trio.BrokenResourceError()]
    for exc in lost:
        assert errors.ConnectionLost is given_driver.diagnose(exc).kind, exc
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xff".decode()
    assert errors.DataError is given_driver.diagnose(caught.value).kind
    for exc in (RuntimeError("closed"), ValueError("x"), KeyError("x")):
        assert given_driver.diagnose(exc) is None


# Logins


@pytest.mark.parametrize(("scheme", "anyio_backend"), LOOPS)
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full", True])
async def test_no_password_is_sent_to_a_server_that_hides_its_encryption(scheme, mode, anyio_backend):
    def play(talk):
        talk.send(greeting(tls=False))
        talk.receive()
        talk.send(OK)
        answer_queries(talk)

    with ScriptedServer(play) as server:
        database = Database(f"{scheme}://app:secret@127.0.0.1:{server.port}/shop", ssl=mode)
        with pytest.raises(ConnectError, match="the server has no TLS"):
            await database.fetchval("select 1")
    assert server.received == []


@pytest.mark.parametrize(("scheme", "anyio_backend"), LOOPS)
@pytest.mark.parametrize("mode", ["prefer", "allow", "disable", None])
async def test_where_encryption_is_not_demanded_a_server_may_lack_it(scheme, mode, anyio_backend):
    def play(talk):
        talk.send(greeting(tls=False))
        talk.receive()
        talk.send(OK)
        answer_queries(talk)

    with ScriptedServer(play) as server:
        options = {} if mode is None else {"ssl": mode}
        connection = await driver(scheme, f"app:secret@127.0.0.1:{server.port}/shop", **options).connect()
        await connection.close()
    assert b"SET NAMES utf8mb4" in server.received[1]


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("known", [True, False], ids=["remembered", "asked for"])
async def test_trio_mysql_logs_in_with_the_passwords_of_mysql_8(known, anyio_backend):
    """It forgets to await both ways, and would fail with a coroutine instead of a packet."""
    proved = []

    def play(talk):
        proved.append(sha2_login(talk, known=known))
        answer_queries(talk)

    with ScriptedServer(play) as server:
        connection = await driver("trio-mysql", f"app:secret@127.0.0.1:{server.port}/shop").connect()
        await connection.close()
    assert proved == [b"secret"]


def test_the_json_of_a_parameter_is_json():
    assert json.loads(literal({"a": "it's"}, backslashes=False)[1:-1].replace("''", "'")) == {"a": "it's"}
