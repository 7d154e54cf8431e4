"""What drivers of database servers have in common: where the server is, who logs in, TLS, in one spelling."""

from __future__ import annotations

import ssl as tls
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aio_databases.config.url import anything, integer, optional, seconds
from aio_databases.drivers.base import Driver
from aio_databases.drivers.keepalive import Keepalive
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aio_databases.config.url import Address

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's words: https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION."""


def ssl_mode(value: Any) -> str | tls.SSLContext:
    """Return one of `SSL_MODES`, or the SSLContext as it is; true means ``verify-full``, false ``disable``."""
    if isinstance(value, tls.SSLContext):
        return value
    word = str(value).lower()
    word = {"true": "verify-full", "1": "verify-full", "false": "disable", "0": "disable"}.get(word, word)
    if word not in SSL_MODES:
        message = f"expected true, false, an ssl.SSLContext or one of {', '.join(SSL_MODES)}"
        raise ValueError(message)
    return word


def one_host(value: Any) -> Any:
    """Return a host, or the folder of a unix socket, as it is; several are for the URL."""
    if not isinstance(value, str) or ("," in value and not value.startswith("/")):
        message = "expected one host; several stand in the URL, as in 'scheme://host-1:port,host-2:port/name'"
        raise ValueError(message)
    return value


def statement_timeout(value: Any) -> float | None:
    """Return a duration in seconds that a server does not take for 0; 0 and infinity mean no limit."""
    timeout = seconds(value)
    return max(timeout, _A_MILLISECOND) if 0 < timeout < float("inf") else None


def no_network(value: Any) -> None:
    """Take ``ssl=False`` where there is no network to encrypt, and nothing else."""
    if ssl_mode(value) != "disable":
        message = "this database has no network connection that could be encrypted"
        raise ValueError(message)


_A_MINUTE = 60.0  # seconds
_AN_HOUR = 3600.0  # seconds
_A_MILLISECOND = 0.001  # seconds


class NetworkDriver(Driver):
    """Knows where the server is and who logs in."""

    option_types: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "application_name": str,
        "database": str,
        "host": optional(one_host),
        "keepalive": seconds,
        "password": anything,
        "port": optional(integer),
        "ssl": ssl_mode,
        "sslcert": str,
        "sslkey": str,
        "sslrootcert": str,
        "statement_timeout": optional(statement_timeout),
        "unix_socket": str,
        "user": str,
    }

    def __init__(self, address: Address, options: Mapping[str, Any], connect_args: Mapping[str, Any]) -> None:
        """Keep where and how to connect.  Raises ConfigurationError for a text with a zero byte, which would end it."""
        super().__init__(address, options, connect_args)
        places = {"user": address.user, "password": address.password, "database": address.database}
        for name, value in chain(places.items(), self.options.items(), self.connect_args.items()):
            if _has_nul(value):
                raise self.nul_in(name)

    def nul_in(self, name: str) -> ConfigurationError:
        """Return the error for an option, or a part of the URL, with a zero byte in it."""
        where = str(self.address).replace("\0", "%00")
        return ConfigurationError(f"the option {name!r} of {where} has a zero byte (NUL), which no login can carry")

    def located(self, name: str) -> Any:
        """Return ``host``, ``port``, ``user`` or ``database``: the option, else what the URL says, else None."""
        return self.options.get(name) or getattr(self.address, name) or None

    @property
    def socket(self) -> str | None:
        """The path of the unix socket to use, if any: ``unix_socket``, or a host that begins with a slash."""
        host = self.located("host")
        return self.options.get("unix_socket") or (host if isinstance(host, str) and host.startswith("/") else None)

    @property
    def gives_up_after(self) -> int:
        """After how many seconds a library gives up connecting, if it cannot be stopped before."""
        within: float = self.options["connect_timeout"]
        return ceil(min(within, _AN_HOUR)) + 1

    @property
    def keepalive(self) -> Keepalive | None:
        """How a link that has gone silent is noticed; None if that is left to the system.

        The option ``keepalive`` says it in one number, libpq's words for it in detail, where a driver knows those.
        """
        silence: float = self.options.get("keepalive", _A_MINUTE)
        given = {name: self.options[name] for name in Keepalive._fields if self.options.get(name)}
        if not self.options.get("keepalives", True) or not (0 < silence < float("inf") or given):
            return None
        return Keepalive.after(min(silence or _A_MINUTE, _AN_HOUR))._replace(**given)

    @property
    def keepalive_words(self) -> dict[str, int]:
        """The parameters of libpq for `keepalive`."""
        if self.keepalive is not None:
            return self.keepalive._asdict()
        return {} if self.options.get("keepalives", True) else {"keepalives": 0}

    async def password(self) -> str | None:
        """Return the password for the next connection; a function or coroutine function is asked for it each time."""
        password: Any = self.options.get("password", self.address.password)
        if callable(password):
            password = password()
        if hasattr(password, "__await__"):
            password = await password
        if isinstance(password, bytes | bytearray):
            try:
                password = password.decode()
            except UnicodeDecodeError:
                message = f"the password for {self.address} is no UTF-8: pass the text that it is typed as"
                raise ConfigurationError(message) from None
        if _has_nul(password):
            raise self.nul_in("password")
        return None if password is None else str(password)

    @property
    def ssl(self) -> str | tls.SSLContext | None:
        """How to encrypt: one of `SSL_MODES`, an SSLContext, or None if the user does not say."""
        return self.options.get("ssl")

    def ssl_context(self) -> tls.SSLContext | None:
        """Return what Python's ssl module needs to do what the options say; None for no encryption.

        Whether encryption may be left out (``allow``, ``prefer``) is for the caller to decide.
        """
        return ssl_context(self.ssl, *(self.options.get(name) for name in ("sslrootcert", "sslcert", "sslkey")))


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nul, chain.from_iterable(cast("dict[object, object]", value).items())))
    return "\0" in value if isinstance(value, str) else isinstance(value, bytes) and b"\0" in value


def ssl_context(
    mode: str | tls.SSLContext | None, rootcert: str | None, cert: str | None, key: str | None
) -> tls.SSLContext | None:
    """Return an SSLContext for one of `SSL_MODES`; the paths are those of PEM files."""
    if mode is None or mode == "disable":
        return None
    if isinstance(mode, tls.SSLContext):
        return mode
    context = tls.create_default_context(cafile=rootcert)
    # Servers make certificates for themselves that lack what only this asks for, since Python 3.13.
    context.verify_flags &= ~tls.VERIFY_X509_STRICT
    context.check_hostname = mode == "verify-full"
    if not mode.startswith("verify"):
        context.verify_mode = tls.CERT_NONE
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


def certificate_authorities() -> str | None:
    """Return the path of the system's certificate authorities, for libraries that do not look for them themselves."""
    paths = tls.get_default_verify_paths()
    return paths.cafile or None
