"""The options of a `Database`: typed, complete, and sorted by who wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypedDict, cast

from aio_databases.config.url import boolean, function, integer, optional, seconds, typed_options
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext

    from aio_databases.config.url import Address


class PoolOptions(NamedTuple):
    """How a pool behaves; durations are seconds, sizes are connections."""

    min_size: int = 0
    max_size: int = 10
    timeout: float = 30.0
    max_idle: float = 600.0
    max_lifetime: float = 3600.0
    max_waiting: int = 0
    check_after: float = 30.0
    connect_timeout: float = 10.0
    cleanup_timeout: float = 5.0
    commit_timeout: float = 60.0
    cool_down: float = 5.0
    target: str | None = None
    leak_warning: float | None = None
    debug: bool = False
    reset: str | Callable[[Any], Any] = "auto"
    init: Callable[[Any], Any] | None = None


class Options(TypedDict, total=False):
    """What type checkers and editors know of the options of a `Database`: the pool's, and all of our own drivers'.

    Options of other packages' drivers stand in the URL's query, or come as ``**`` of a ``dict[str, Any]``.
    """

    min_size: int
    max_size: int
    timeout: float
    max_idle: float
    max_lifetime: float
    max_waiting: int
    check_after: float
    connect_timeout: float
    cleanup_timeout: float
    commit_timeout: float
    cool_down: float
    target: str | None
    leak_warning: float | None
    debug: bool
    reset: Literal["auto", "always", "never"] | Callable[[Any], Any]
    init: Callable[[Any], Any] | None

    connect_args: dict[str, Any] | None
    convert_params: bool
    json: bool | Literal["auto"]
    json_dumps: Callable[[Any], str | bytes] | None
    json_loads: Callable[[Any], Any] | None

    application_name: str
    database: str
    host: str | None
    keepalive: float
    password: Any
    port: int | None
    ssl: bool | str | SSLContext | None
    sslcert: str
    sslkey: str
    sslrootcert: str
    statement_timeout: float | None
    unix_socket: str
    user: str

    channel_binding: str
    command_timeout: float | None
    direct_tls: bool
    fallback_application_name: str
    gssencmode: str
    keepalives: bool
    keepalives_count: int
    keepalives_idle: int
    keepalives_interval: int
    max_cacheable_statement_size: int
    max_cached_statement_lifetime: int
    options: str
    passfile: str
    pgbouncer: bool
    server_settings: Mapping[str, Any]
    statement_cache_size: int
    tcp_user_timeout: int

    autocommit: bool
    charset: str
    found_rows: bool
    init_command: str
    sql_mode: str

    db_type: str
    driver: str
    dsn: str

    functions: Any
    isolation_level: str | None
    pragmas: Mapping[str, Any]
    uri: bool

    maxsize: int
    minsize: int
    pool_recycle: float
    sslmode: str
    target_session_attrs: str | None


class TakesOptions(Protocol):
    """What is asked of the class of a driver."""

    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]]

    @classmethod
    def url_parameters(cls, options: Mapping[str, Any]) -> frozenset[str]:
        """Return the parameters in the URL's query that are not options of ours but go to the library with the URL."""
        ...


def split_options(
    driver: type[TakesOptions], address: Address, given: Mapping[str, Any]
) -> tuple[PoolOptions, dict[str, Any], dict[str, Any]]:
    """Return the options for the pool, for the driver, and those that go to its library as they are.

    ``given`` are keyword options; they win over those in the URL's query.  Raises ConfigurationError for one that is
    unknown or out of range.
    """
    keywords = dict(given)
    connect_args: Any = keywords.pop("connect_args", None) or {}
    known = {**_POOL, **_DRIVER, **driver.option_types}
    where = str(address)
    if not isinstance(connect_args, dict):
        message = f"connect_args of {where} must be a dict of arguments for the driver's library"
        raise ConfigurationError(message)
    options = typed_options(keywords, known, _ALIASES, where)
    try:
        own = driver.url_parameters(address.options | options)
    except ValueError:
        given = {name: value for name, value in address.options.items() if _ALIASES.get(name, name) in known}
        typed_options(given, known, _ALIASES, where)  # says which one is bad
        raise
    query = {name: value for name, value in address.options.items() if name not in own}
    options = typed_options(query, known, _ALIASES, where) | options
    pool = PoolOptions(**{name: options.pop(name) for name in _POOL if name in options})
    if pool.max_size < max(1, pool.min_size):
        message = f"max_size of {where} is {pool.max_size}; it must be at least 1 and min_size ({pool.min_size})"
        raise ConfigurationError(message)
    options["connect_timeout"] = pool.connect_timeout  # for libraries that cannot be stopped from outside
    return pool, options, cast("dict[str, Any]", connect_args)


def _reset(value: Any) -> Any:
    if callable(value) or value in {"auto", "always", "never"}:
        return value
    message = "expected 'auto', 'always', 'never' or a function"
    raise ValueError(message)


def _json(value: Any) -> Any:
    try:
        return value if value == "auto" else boolean(value)
    except ValueError:
        message = "expected true or false, or 'auto'"
        raise ValueError(message) from None


def _target(value: Any) -> str:
    word = str(value).lower()
    word = _WORDS_OF_LIBPQ.get(word, word)
    if word not in _TARGETS:
        message = f"expected one of {', '.join(_TARGETS)}"
        raise ValueError(message)
    return word


TARGET = frozenset({"target", "target_session_attrs"})
"""The names of the option that says what role a server must have."""

_TARGETS = ("read-write", "read-only", "any", "prefer-read-only")
_WORDS_OF_LIBPQ = {"primary": "read-write", "standby": "read-only", "prefer-standby": "prefer-read-only"}

_BY_TYPE: dict[type, Callable[[Any], Any]] = {int: integer, float: seconds, bool: boolean}
_POOL: dict[str, Callable[[Any], Any]] = {
    **{name: _BY_TYPE[type(given)] for name, given in PoolOptions._field_defaults.items() if type(given) in _BY_TYPE},
    "target": optional(_target),
    "leak_warning": optional(seconds),
    "reset": _reset,
    "init": optional(function),
}

_DRIVER: dict[str, Callable[[Any], Any]] = {
    "convert_params": boolean,
    "json": _json,
    "json_dumps": optional(function),
    "json_loads": optional(function),
}

_ALIASES = {
    "maxsize": "max_size",
    "minsize": "min_size",
    "pool_recycle": "max_lifetime",
    "sslmode": "ssl",
    "target_session_attrs": "target",
}
