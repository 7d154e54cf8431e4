"""A long text does not stop the event loop for seconds while it is scanned (hostile test)."""

from __future__ import annotations

from time import process_time

import pytest

from aio_databases.sql.translator import Translator

DRIVERS = [("sqlite", "qmark"), ("postgresql", "numeric_dollar"), ("mysql", "format"), ("odbc", "qmark")]
ROWS = ", ".join(f"({number}, 'name {number}', null, -1.5)" for number in range(60_000))
TEXTS = {
    "megabytes of rows": f"insert into t values {ROWS}",
    "megabytes of numbers": f"select * from t where id in ({', '.join(map(str, range(300_000)))})",
    "function after function": "create function f() returns int begin " * 20_000,
    "trigger after trigger": "create trigger t after insert on t begin " * 20_000,
    "rows that almost are": "insert into t values " + (", (1, 'a')" * 9 + ", (x)") * 3_000,
    "a row that does not end": "insert into t values " + ", (1, '" * 10_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_long_text_takes_a_fraction_of_a_second(text):
    began = process_time()
    Translator("postgresql", "numeric_dollar").bind(text, ())
    assert process_time() - began < 6  # of twelve and more, on a machine that has much else to do


@pytest.mark.parametrize(("dialect", "style"), DRIVERS)
def test_literals_that_are_passed_over_hide_nothing(dialect, style):
    translator, most = Translator(dialect, style), ", (1, 'a', null)" * 20
    sets = "select set_config('default_transaction_read_only', 'off', '1')"
    for text, params in (
        (f"insert into t values (0, :a, null){most}, (2, :b, 'c')", {"a": 1, "b": 2}),
        (f"select * from t where a in (:a{', 5' * 20}, :b)", {"a": 1, "b": 2}),
    ):
        assert tuple(translator.bind(text, (params,))[1]) == (1, 2)
    assert translator.bind(f"select 1{', 2' * 20}; delete from t", ())[0].writes
    assert translator.bind(f"select 1{', 2' * 20}, nextval('a')", ())[0].writes
    assert not translator.bind(f"select 1{', 2' * 20}, 3", ())[0].writes
    assert dialect == "mysql" or translator.bind(f"{sets}{most}", ())[0].writes
