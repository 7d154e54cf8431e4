"""ODBC without a database: which one it is, what the connection string says, what errors mean, how values are sent."""

from __future__ import annotations

import ssl
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from aio_databases import ConfigurationError, DataError, NotSupportedError, ProgrammingError
from aio_databases import errors as e
from aio_databases.config.options import split_options
from aio_databases.config.url import parse_url
from aio_databases.drivers.base import TransactionOptions
from aio_databases.drivers.odbc.connection_strings import keywords, redacted
from aio_databases.drivers.odbc.dialect import Failure, OdbcDialect
from aio_databases.drivers.odbc.family import AutoODBC, OdbcDriver
from aio_databases.drivers.odbc.mysql import MySQL
from aio_databases.drivers.odbc.others import Db2, Oracle, SQLServer
from aio_databases.drivers.odbc.postgresql import PostgreSQL
from aio_databases.drivers.odbc.sqlite import SQLite
from aio_databases.drivers.odbc.values import duration, for_mysql, for_postgresql, for_sqlite, uuid

FILES = {
    "postgresql": "/usr/lib/odbc/psqlodbcw.so",
    "mysql": "/usr/lib/odbc/libmaodbc.so",
    "sqlite": "/usr/lib/odbc/libsqlite3odbc.so",
}


class Driver(OdbcDriver):
    """Connects to nothing."""

    name = "test"

    def data_sources(self):
        """Return what an odbc.ini might name."""
        return {"Shop": "PostgreSQL Unicode", "mystery": "Something"}

    async def connect(self, *, read_only=False):
        """Connect to nothing."""
        raise NotImplementedError

    def diagnose(self, exc):
        """Know nothing."""
        raise NotImplementedError


def make(url, *, cls=Driver, **options):
    address = parse_url(url)
    _, typed, connect_args = split_options(cls, address, options)
    return cls(address, typed, connect_args)


def said(url, password=None, *, read_only=False, **options):
    """Return what the connection string says."""
    return keywords(make(url, **options).connection_string(password, read_only=read_only))


# Connection strings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("sekret", {}),
        ("Driver=X;Server=h", {"driver": "X", "server": "h"}),
        (" Driver = {Postgre SQL} ; PWD={a;b}}c};UID=u;", {"driver": "Postgre SQL", "pwd": "a;b}c", "uid": "u"}),
        ("PWD=a=b;UID=", {"pwd": "a=b", "uid": ""}),
    ],
)
def test_a_connection_string_is_understood(text, expected):
    assert keywords(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Driver=X;PWD=sekret",
        "pwd = sekret;UID=u",
        "Password={sek;ret};UID=u",
        "Can't open lib 'PostgreSQL Unicode;PWD=sekret' : file not found",
        "Passwd={sekret",
        "PWD={a}}sekret};x",
    ],
)
def test_a_password_in_a_connection_string_is_not_shown(text):
    assert "ret" not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize(
    ("options", "dialect"),
    [
        ({"driver": "PostgreSQL Unicode"}, "postgresql"),
        ({"driver": FILES["postgresql"]}, "postgresql"),
        ({"driver": "MariaDB Unicode"}, "mysql"),
        ({"driver": "MySQL ODBC 9.1 Unicode Driver"}, "mysql"),
        ({"driver": FILES["mysql"]}, "mysql"),
        ({"driver": "{SQLite3}"}, "sqlite"),
        ({"dsn": f"DRIVER={FILES['sqlite']};Database=x.db"}, "sqlite"),
        ({"dsn": "DSN=shop"}, "postgresql"),
        ({"dsn": "SHOP"}, "postgresql"),
        ({"dsn": "DSN=mystery"}, "odbc"),
        ({"driver": "FreeTDS"}, "odbc"),
        ({"driver": "ODBC Driver 18 for SQL Server"}, "mssql"),
        ({"driver": "/opt/microsoft/lib/libmsodbcsql-18.5.so"}, "mssql"),
        ({"driver": "Oracle in instantclient_21_1"}, "oracle"),
        ({"driver": "IBM DB2 ODBC DRIVER"}, "db2"),
        ({"driver": "Something", "db_type": "sqlserver"}, "mssql"),
        ({"driver": "Something", "db_type": "MariaDB"}, "mysql"),
        ({"driver": "Something", "db_type": "postgres"}, "postgresql"),
        ({"driver": "Something", "db_type": "mssql"}, "mssql"),
        ({"driver": "PostgreSQL Unicode", "db_type": "redshift"}, "redshift"),
    ],
)
def test_the_dialect_is_told_by_name_else_by_the_odbc_driver(options, dialect):
    driver = make("odbc://", **options)
    assert dialect == driver.dialect == driver.db_type == str(driver)
    assert driver.is_known is (dialect != "odbc")
    known = {
        "db2": Db2, "mssql": SQLServer, "mysql": MySQL, "oracle": Oracle, "postgresql": PostgreSQL, "sqlite": SQLite
    }.get(dialect, OdbcDialect)  # fmt: skip
    assert known.capabilities == driver.capabilities
    assert type(driver.odbc_dialect) is known


def test_an_unknown_database_may_tell_later_what_it_is():
    driver = make("odbc://mystery", convert_params=False)
    assert driver.dialect == "odbc"
    driver.get_to_know("PostgreSQL")
    assert (driver.dialect, driver.is_known) == ("postgresql", True)
    assert driver.capabilities.deferrable
    assert driver.translator.bind("a $1", (1,))[0].sql == "a $1"


def test_an_unknown_database_may_stay_unknown_but_is_asked_once():
    driver = make("odbc://mystery")
    driver.get_to_know("Firebird 5.0")
    assert (driver.dialect, driver.is_known) == ("odbc", True)


@pytest.mark.parametrize("cls", [AutoODBC, Driver])
def test_the_choice_knows_the_dialect_before_it_has_chosen(cls):
    backend = make("odbc://", cls=cls, dsn=f"Driver={FILES['sqlite']};Database=x.db")
    assert backend.dialect == "sqlite"
    assert backend.capabilities.single_writer


@pytest.mark.parametrize("cls", [AutoODBC, Driver])
def test_an_address_without_a_data_source_is_refused(cls):
    with pytest.raises(ConfigurationError, match="names no data source: add dsn="):
        make("odbc://", cls=cls)


def test_a_url_with_a_driver_becomes_a_connection_string():
    url = "odbc://app:x@db.example:6543/shop?driver=PostgreSQL+Unicode&keepalive=0"
    assert said(url, "p;{}w") == {
        "driver": "PostgreSQL Unicode",
        "server": "db.example",
        "port": "6543",
        "database": "shop",
        "uid": "app",
        "pwd": "p;{}w",
        "boolsaschar": "0",
        "protocol": "7.4-0",
    }


def test_options_win_over_the_url():
    found = said("odbc://app@host/db?driver=psqlodbc", host="other", database="more", user="me", port=7)
    assert (found["server"], found["database"], found["uid"], found["port"]) == ("other", "more", "me", "7")


@pytest.mark.parametrize(
    ("url", "server", "port"),
    [
        ("odbc://h:99/db?driver=ODBC+Driver+18+for+SQL+Server", "h,99", None),
        ("odbc://h/db?driver=ODBC+Driver+18+for+SQL+Server", "h", None),
        ("odbc://h:99/db?driver=FreeTDS", "h", "99"),
    ],
)
def test_sql_servers_own_odbc_driver_has_the_port_beside_the_host(url, server, port):
    assert (server, port) == (said(url)["server"], said(url).get("port"))


def test_a_data_source_is_named_by_the_host():
    assert said("odbc://app:x@mystery", "x") == {"dsn": "mystery", "uid": "app", "pwd": "x"}
    found = said("odbc://Shop/other")
    assert (found["dsn"], found["database"]) == ("shop", "other")
    assert "server" not in found


def test_a_dsn_is_left_as_it_is_and_completed():
    dsn = "Driver={PostgreSQL Unicode};Server=h;BoolsAsChar=1;"
    text = make("aioodbc://u@localhost", dsn=dsn, keepalive=0).connection_string("p}", read_only=False)
    assert text == "Driver={PostgreSQL Unicode};Server=h;BoolsAsChar=1;UID=u;PWD={p}}};Protocol=7.4-0"


def test_a_password_of_plain_characters_needs_no_braces():
    assert make("odbc://mystery").connection_string("Abc_123", read_only=False).endswith(";PWD=Abc_123")


def test_what_the_dsn_tells_libpq_stays():
    dsn = "Driver={PostgreSQL Unicode};Server=h;pqopt={keepalives=0}"
    assert keywords(make("odbc://", dsn=dsn).connection_string(None, read_only=False))["pqopt"] == "keepalives=0"


@pytest.mark.parametrize("option", ["database", "driver", "host", "port", "unix_socket"])
def test_what_belongs_into_the_dsn_is_refused_beside_it(option):
    with pytest.raises(ConfigurationError, match=f"the option '{option}' of odbc:// does not go with dsn"):
        make("odbc://", dsn="Driver=SQLite3", **{option: "1"})


@pytest.mark.parametrize(("password", "options"), [("x", {}), (None, {"user": "me"}), (None, {"ssl": "require"})])
def test_what_the_dsn_says_must_not_be_said_again(password, options):
    driver = make("odbc://", dsn="Driver=psqlodbcw.so;UID=you;PWD=y;SSLmode=disable", **options)
    with pytest.raises(ConfigurationError, match="say it once"):
        driver.connection_string(password, read_only=False)


def test_names_that_an_odbc_driver_cannot_be_told_are_refused():
    driver = make("odbc://h/a%3Bb?driver=psqlodbc")
    with pytest.raises(ConfigurationError, match="understands no Database with a brace, a semicolon or outer spaces"):
        driver.connection_string(None, read_only=False)
    assert said("odbc://h/a%3Bb?driver=MariaDB")["database"] == "a;b"


def test_a_folder_with_a_socket_is_a_server_to_psqlodbc():
    assert said("odbc:///db?driver=psqlodbc", unix_socket="/run/pg")["server"] == "/run/pg"


def test_a_socket_has_a_keyword_of_its_own_to_mariadb():
    found = said("odbc:///db?driver=MariaDB", unix_socket="/run/m.sock")
    assert (found["socket"], found["database"]) == ("/run/m.sock", "db")
    assert "server" not in found


def test_only_mariadbs_odbc_driver_is_told_when_to_give_up():
    assert said("odbc://h?driver=MariaDB", connect_timeout=6.5)["conn_timeout"] == "8"
    assert "conn_timeout" not in said("odbc://h?driver=MySQL+ODBC+9.1", connect_timeout=6.5)


def test_a_file_of_sqlite_is_a_uri():
    url = "odbc:////data/my%20ü;{}.db?driver=SQLite3"
    assert said(url)["database"] == "file:/data/my%20%C3%BC%3B%7B%7D.db"
    assert said(url, read_only=True)["database"] == "file:/data/my%20%C3%BC%3B%7B%7D.db?mode=ro"
    options = {"bigint": "1", "fksupport": "1", "journalmode": "WAL", "timeout": "2500"}
    assert options == {name: said(url)[name] for name in options}


@pytest.mark.parametrize("url", ["odbc://h/x.db", "odbc://", "odbc:///:memory:"])
def test_sqlite_is_a_file(url):
    with pytest.raises(ConfigurationError, match="ODBC leads to SQLite's files only"):
        said(url, driver="SQLite3")


def test_a_path_that_sqlites_odbc_driver_would_garble_is_refused():
    with pytest.raises(ConfigurationError, match="not ASCII: use the scheme sqlite://"):
        said("odbc://", dsn="Driver=SQLite3;Database=ü.db")


# Options


WATCHED = "keepalives_idle='6' keepalives_interval='1' keepalives_count='3' tcp_user_timeout='9000'"


@pytest.mark.parametrize(
    ("library", "options", "expected"),
    [
        ("psqlodbc", {"ssl": "require", "keepalive": 0}, {"sslmode": "require"}),
        ("psqlodbc", {"ssl": False, "keepalive": 0}, {"sslmode": "disable"}),
        ("psqlodbc", {"sslrootcert": r"/a'\b", "keepalive": 0}, {"pqopt": r"sslrootcert='/a\'\\b'"}),
        (
            "psqlodbc",
            {"ssl": "verify-ca", "sslrootcert": "/ca", "sslcert": "/c", "sslkey": "/k", "keepalive": 6},
            {"sslmode": "verify-ca", "pqopt": f"sslrootcert='/ca' sslcert='/c' sslkey='/k' {WATCHED}"},
        ),
        ("psqlodbc", {"keepalive": 6}, {"pqopt": WATCHED}),
        ("MariaDB", {}, {}),
        ("MariaDB", {"ssl": False}, {}),
        ("MariaDB", {"ssl": True, "sslrootcert": "/ca"}, {"forcetls": "1", "sslverify": "1", "sslca": "/ca"}),
        ("MySQL ODBC", {}, {}),
    ],
)
def test_the_link_is_described_in_the_words_of_the_odbc_driver(library, options, expected):
    found = said("odbc://h", driver=library, **options)
    words = {"sslmode", "pqopt", "forcetls", "sslverify", "sslca", "sslcert", "sslkey"}
    assert {name: value for name, value in found.items() if name in words} == expected


@pytest.mark.parametrize(
    ("library", "options", "reason"),
    [
        ("MariaDB", {"ssl": "prefer"}, "encrypts for certain with 'verify-full' only"),
        ("MariaDB", {"ssl": "require"}, "encrypts for certain with 'verify-full' only"),
        ("MariaDB", {"ssl": "verify-ca"}, "encrypts for certain with 'verify-full' only"),
        ("MariaDB", {"sslrootcert": "/ca"}, "encrypts for certain with 'verify-full' only"),
        ("MariaDB", {"ssl": False, "sslcert": "/c"}, "encrypts for certain with 'verify-full' only"),
        ("MySQL ODBC", {"ssl": "require"}, "every ODBC driver has words of its own"),
        ("SQLite3", {"ssl": "require"}, "no network connection that could be encrypted"),
        ("Something", {"ssl": "disable"}, "every ODBC driver has words of its own"),
        ("Something", {"sslcert": "/c"}, "every ODBC driver has words of its own"),
        ("MariaDB", {"application_name": "me"}, "send their own"),
        ("Something", {"application_name": "me"}, "no word for it that every ODBC driver knows"),
        ("SQLite3", {"statement_timeout": 1}, "has none; the scheme sqlite:// has"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused(library, options, reason):
    with pytest.raises(ConfigurationError, match=f"(?s)cannot be followed: .*{reason}.*; leave it out"):
        make("odbc://h/x", driver=library, **options)


def test_ssl_false_is_true_of_sqlite():
    assert "sslmode" not in said("odbc:///x.db", driver="SQLite3", ssl=False)


def test_an_ssl_context_is_refused():
    with pytest.raises(ConfigurationError, match="cannot use the SSLContext"):
        make("odbc://h", driver="psqlodbc", ssl=ssl.create_default_context())


def test_json_cannot_be_parsed():
    with pytest.raises(ConfigurationError, match="ODBC does not report which columns are JSON"):
        make("odbc://h", driver="psqlodbc", json=True)


@pytest.mark.parametrize(
    ("library", "product", "expected"),
    [
        (
            "psqlodbc",
            "PostgreSQL",
            [
                "SET application_name = E'it''s'",
                "SET statement_timeout = 1500",
                "SET default_transaction_read_only = on",
            ],
        ),
        ("MariaDB", "MariaDB", ["SET SESSION max_statement_time = 1.500000", "SET SESSION TRANSACTION READ ONLY"]),
        ("MariaDB", "MySQL", ["SET SESSION max_execution_time = 1500", "SET SESSION TRANSACTION READ ONLY"]),
        ("SQLite3", "SQLite", ["PRAGMA query_only = ON"]),
    ],
)
def test_a_session_begins_with_what_was_asked_for(library, product, expected):
    options = {} if library == "SQLite3" else {"statement_timeout": 1.5}
    options |= {"application_name": "it's"} if library == "psqlodbc" else {}
    driver = make("odbc://h/x", driver=library, **options)
    assert list(driver.odbc_dialect.session(driver, product, read_only=True)) == expected
    driver = make("odbc://h/x", driver=library)
    assert list(driver.odbc_dialect.session(driver, product, read_only=False)) == []


def test_an_unknown_database_cannot_be_made_read_only():
    driver = make("odbc://mystery")
    with pytest.raises(NotSupportedError, match="have Oracle refuse writes on a connection"):
        list(driver.odbc_dialect.session(driver, "Oracle", read_only=True))
    with pytest.raises(NotSupportedError, match="make a transaction of this database read-only"):
        driver.odbc_dialect.begin(TransactionOptions(readonly=True), read_only=False)


# Transactions


@pytest.mark.parametrize(
    ("dialect", "options", "read_only", "expected"),
    [
        (PostgreSQL(), {}, False, ["BEGIN"]),
        (
            PostgreSQL(),
            {"isolation": "serializable", "readonly": True, "deferrable": True},
            False,
            ["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"],
        ),
        (MySQL(), {}, False, ["START TRANSACTION"]),
        (MySQL(), {}, True, ["START TRANSACTION READ ONLY"]),
        (
            MySQL(),
            {"isolation": "read committed", "readonly": False},
            False,
            ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION READ WRITE"],
        ),
        (SQLite(), {}, False, ["BEGIN IMMEDIATE"]),
        (SQLite(), {"mode": "exclusive"}, False, ["BEGIN EXCLUSIVE"]),
        (SQLite(), {}, True, ["BEGIN DEFERRED"]),
        (SQLite(), {"readonly": True}, False, ["BEGIN DEFERRED", "PRAGMA query_only = ON"]),
        (OdbcDialect(), {}, False, []),
    ],
)
def test_a_transaction_begins_in_the_words_of_the_database(dialect, options, read_only, expected):
    assert list(dialect.begin(TransactionOptions(**options), read_only=read_only)) == expected


def test_sqlite_writes_again_after_a_transaction_that_only_read():
    readonly = TransactionOptions(readonly=True)
    assert SQLite().after(readonly, read_only=False) == ("PRAGMA query_only = OFF",)
    assert () == SQLite().after(readonly, read_only=True) == SQLite().after(TransactionOptions(), read_only=False)


@pytest.mark.parametrize("dialect", [PostgreSQL(), MySQL(), SQLite()])
@pytest.mark.parametrize(
    ("sql", "begins", "ends"),
    [
        ("begin", True, False),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE NOT DEFERRABLE", True, False),
        (" -- now\n /* and\nhere */ ; Begin Immediate", True, False),
        ("start transaction", True, False),
        ("start slave", False, False),
        ("begin not atomic select 1; end", False, False),
        ("beginning", False, False),
        ("select 'begin'", False, False),
        ("commit", False, True),
        ("/* by hand */ COMMIT", False, True),
        ("end", False, True),
        ("rollback", False, True),
        ("rollback work", False, True),
        ("rollback to savepoint x", False, False),
        ("rollback to x", False, False),
        ("ROLLBACK TRANSACTION TO x", False, False),
        ("savepoint commit", False, False),
        ("endless", False, False),
        ("-- commit", False, False),
    ],
)
def test_the_first_words_tell_whether_a_transaction_begins_or_ends(dialect, sql, begins, ends):
    assert (begins, ends) == (bool(dialect.begins.match(sql)), bool(dialect.ends.match(sql)))


@pytest.mark.parametrize(
    ("sql", "ends"),
    [
        ("create table x (a int)", True),
        ("CREATE TEMPORARY TABLE x (a int)", False),
        ("create or replace temporary table x (a int)", False),
        ("drop temporary table x", False),
        ("alter table x add b int", True),
        ("truncate x", True),
        ("insert into created values (1)", False),
    ],
)
def test_ddl_ends_a_transaction_of_mysql(sql, ends):
    assert ends is bool(MySQL().ends.match(sql))


# Errors


def failure(state, text, number=0, kind=e.DatabaseError):
    return Failure(kind, state, number, text)


@pytest.mark.parametrize(
    ("dialect", "found", "kind"),
    [
        (OdbcDialect(), failure("08001", "refused"), e.ConnectError),
        (OdbcDialect(), failure("08S01", "lost"), e.ConnectionLost),
        (OdbcDialect(), failure("28000", "login"), e.AuthenticationError),
        (OdbcDialect(), failure("HYT00", "timeout"), e.QueryTimeout),
        (OdbcDialect(), failure("HYT01", "timeout"), e.ConnectionLost),
        (OdbcDialect(), failure("HY008", "cancelled"), e.QueryTimeout),
        (OdbcDialect(), failure("HYC00", "no such feature"), e.NotSupportedError),
        (OdbcDialect(), failure("IM002", "no such data source"), e.ConnectError),
        (OdbcDialect(), failure("01000", "Can't open lib 'X' : file not found"), e.ConnectError),
        (OdbcDialect(), failure("07002", "parameters"), e.ProgrammingError),
        (OdbcDialect(), failure("42S02", "table"), e.ProgrammingError),
        (OdbcDialect(), failure("40001", "deadlock", 1205), e.SerializationFailure),
        (OdbcDialect(), failure("HY000", "whatever", 0, e.ProgrammingError), e.ProgrammingError),
        (OdbcDialect(), failure("", "Attempt to use a closed connection.", 0, e.ProgrammingError), e.ConnectionLost),
        (PostgreSQL(), failure("57P01", "FATAL: terminating connection"), e.ConnectionLost),
        (PostgreSQL(), failure("XX000", "FATAL: unable to read data from DB node 1"), e.ConnectionLost),
        (PostgreSQL(), failure("XX000", "ERROR: cache lookup failed"), e.InternalError),
        (PostgreSQL(), failure("57014", "canceling statement"), e.QueryTimeout),
        (PostgreSQL(), failure("08001", 'FATAL: password authentication failed for user "x"'), e.AuthenticationError),
        (PostgreSQL(), failure("08001", "fe_sendauth: no password supplied"), e.AuthenticationError),
        (PostgreSQL(), failure("08001", 'FATAL: database "x" does not exist'), e.ConnectError),
        (MySQL(), failure("23000", "Duplicate entry", 1062), e.UniqueViolation),
        (MySQL(), failure("23000", "CONSTRAINT failed", 4025), e.CheckViolation),
        (MySQL(), failure("HY018", "interrupted", 1317), e.QueryTimeout),
        (MySQL(), failure("HY000", "broken pipe", 5014), e.ConnectionLost),
        (MySQL(), failure("08003", "Connection not open"), e.ConnectionLost),
        (MySQL(), failure("HY000", "Can't connect", 2002), e.ConnectError),
        (SQLite(), failure("HY000", "[SQLite]database is locked (5) (5) (", 5), e.LockTimeout),
        (SQLite(), failure("HY000", "[SQLite]interrupted (9) (9) (", 9), e.QueryTimeout),
        (SQLite(), failure("HY000", "[SQLite]attempt to write a readonly database (8) (8) (", 8), e.ReadOnlyError),
        (SQLite(), failure("HY000", "[SQLite]no such table: x (1) (1) (", 1), e.ProgrammingError),
        (SQLite(), failure("HY000", "[SQLite]connect failed (14) (", 14), e.ConnectError),
        (
            SQLite(),
            failure("HY000", "[SQLite]FOREIGN KEY constraint failed (19) (19) (SQLExecute)", 19),
            e.ForeignKeyViolation,
        ),
        (SQLite(), failure("07009", "unsupported parameter type", -1), e.ProgrammingError),
    ],
)
def test_an_error_is_known_by_its_codes(dialect, found, kind):
    assert kind is dialect.diagnosis(found).kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Duplicate entry '1' for key 'PRIMARY' (1062)", (None, None, "PRIMARY")),
        ("Column 'name' cannot be null (1048)", (None, "name", None)),
        ("CONSTRAINT `s.c` failed for `test`.`s` (4025)", ("s", None, "s.c")),
        ("Lock wait (1) (1205)", (None, None, None)),
    ],
)
def test_what_an_error_of_mysql_names_is_told(text, expected):
    found = MySQL().diagnosis(failure("23000", f"[23000] [ma-3.1.15][10.11.19-MariaDB]{text} (SQLExecDirectW)", 1062))
    assert (found.table, found.column, found.constraint) == expected


def test_what_an_error_of_postgresql_names_is_told():
    text = '[23505] ERROR: duplicate key value violates unique constraint "users_pkey"\nDETAIL: Key (name)=(hunter2)'
    found = PostgreSQL().diagnosis(failure("23505", text, 1))
    assert (found.sqlstate, found.errno, found.constraint) == ("23505", None, "users_pkey")
    assert "hunter2" not in PostgreSQL().redact(text)
    text = '[23502] ERROR: null value in column "name" of relation "users" violates not-null constraint\nDETAIL: ...'
    found = PostgreSQL().diagnosis(failure("23502", text, 1))
    assert (found.constraint, found.table, found.column) == (None, "users", "name")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNIQUE constraint failed: users.name", ("users", ("name",), None)),
        ("NOT NULL constraint failed: users.name", ("users", ("name",), None)),
        ("UNIQUE constraint failed: users.name, users.age", ("users", ("name", "age"), None)),
        ("UNIQUE constraint failed: index 'lower_name'", (None, None, "lower_name")),
        ("CHECK constraint failed: age > 0", (None, None, "age > 0")),
        ("FOREIGN KEY constraint failed", (None, None, None)),
    ],
)
def test_what_an_error_of_sqlite_names_is_told(text, expected):
    found = SQLite().diagnosis(failure("HY000", f"[HY000] [SQLite]{text} (19) (19) (SQLExecDirect)", 19))
    assert (found.table, found.columns, found.constraint) == expected
    assert found.errno == 19


@pytest.mark.parametrize(
    ("sql", "number", "broken"),
    [
        ("select 1; select 2", 1064, True),
        ("selec 1;", 1064, False),
        ("select 1; select 2", 1146, False),
        ("select 1", 2013, True),
    ],
)
def test_mariadbs_odbc_driver_is_not_trusted_after_two_statements_in_one(sql, number, broken):
    dialect = MySQL()
    assert broken is dialect.is_broken_by(sql, dialect.diagnosis(failure("42000", "", number)))


# Values

EASTERN = datetime(2024, 2, 29, 12, 1, 2, 123456, timezone(timedelta(hours=5)))
MOMENT = EASTERN.replace(tzinfo=None)
ID = UUID(int=5)


@pytest.mark.parametrize(
    ("convert", "value", "expected"),
    [
        *(
            (convert, value, value)
            for convert in (for_mysql, for_postgresql, for_sqlite)
            for value in (1, b"\0", "é", None)
        ),
        (for_postgresql, MOMENT, "2024-02-29T12:01:02.123456"),
        (for_postgresql, EASTERN, "2024-02-29T12:01:02.123456+05:00"),
        (for_postgresql, time(1, 2, 3, 4), "01:02:03.000004"),
        (for_postgresql, date(2024, 2, 29), date(2024, 2, 29)),
        (for_postgresql, Decimal("1.10"), Decimal("1.10")),
        (for_postgresql, ID, str(ID)),
        (for_postgresql, {"a": 1}, '{"a": 1}'),
        (for_postgresql, [1, None, [2.5], 'a"\\', True, b"\1"], r'{"1",NULL,{"2.5"},"a\"\\","True","\\x01"}'),
        (for_postgresql, [[]], "{{}}"),
        (for_postgresql, timedelta(days=-1, microseconds=5), "-1 days 0.000005 seconds"),
        (for_postgresql, memoryview(b"ab"), b"ab"),
        (for_mysql, MOMENT, "2024-02-29 12:01:02.123456"),
        (for_mysql, EASTERN, "2024-02-29 07:01:02.123456"),
        (for_mysql, time(1, 2, 3, 4), "01:02:03.000004"),
        (for_mysql, timedelta(hours=-26, microseconds=5), "-25:59:59.999995"),
        (for_mysql, ID, str(ID)),
        (for_mysql, {"a": 1}, '{"a": 1}'),
        (for_sqlite, MOMENT, "2024-02-29 12:01:02.123456"),
        (for_sqlite, Decimal("1.10"), 1.1),
        (for_sqlite, [1], "[1]"),
    ],
)
def test_values_that_odbc_would_cut_are_sent_as_text(convert, value, expected):
    assert list(convert([value])) == [expected]


def test_a_subclass_is_sent_like_its_base():
    class Moment(datetime):
        pass

    moment = Moment(2024, 2, 29, tzinfo=EASTERN.tzinfo)
    assert for_postgresql([moment]) == ["2024-02-29T00:00:00+05:00"]


@pytest.mark.parametrize("convert", [for_mysql, for_postgresql, for_sqlite])
def test_text_that_odbc_would_cut_is_refused(convert):
    with pytest.raises(DataError, match="NUL"):
        convert(["a\0b"])


def test_an_empty_list_that_may_be_json_or_an_array_is_refused():
    with pytest.raises(DataError, match="an empty list"):
        for_postgresql([[]])


def test_named_parameters_are_refused():
    with pytest.raises(ProgrammingError, match="write :name instead"):
        SQLite().adapted({"a": 1}, repr)


def test_raw_values_are_read():
    assert uuid(ID.bytes_le) == ID
    assert uuid(None) is None
    assert timedelta(hours=-112, minutes=-1, seconds=-2.5) == duration(b"-112:01:02.500000")
    assert timedelta(seconds=3) == duration(b"00:00:03")
    assert duration(None) is None


@pytest.mark.parametrize(
    ("told", "name"),
    [("name", "name"), ("Ã¼nÃ¯ ð\x9f\x90\x98", "ünï 🐘"), ("ünï\0W", "ünï"), ("ü", "ü"), ("名", "名")],
)
def test_names_of_columns_that_sqlites_odbc_driver_garbles_are_mended(told, name):
    assert name == SQLite().column(told)
    assert told == PostgreSQL().column(told)
