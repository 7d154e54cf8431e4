"""Signs of life: how a link that has gone silent is noticed, which TCP by itself waits for without end."""

from __future__ import annotations

import socket
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing import Self

_QUESTIONS = 3


class Keepalive(NamedTuple):
    """When the system asks a silent peer for a sign of life, and when it gives the connection up.

    The names are libpq's: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES.
    """

    keepalives_idle: int
    """Seconds of silence before the first question."""
    keepalives_interval: int
    """Seconds between questions."""
    keepalives_count: int
    """Questions before the connection is given up."""
    tcp_user_timeout: int
    """Milliseconds for which something may be sent without being acknowledged."""

    @classmethod
    def after(cls, silence: float) -> Self:
        """Begin to ask after ``silence`` seconds, and give up after half of that again."""
        return cls(max(1, ceil(silence)), max(1, ceil(silence / 6)), _QUESTIONS, max(1, ceil(silence * 1500)))

    def watch(self, link: Any) -> None:
        """Have a socket watched, if it is one of TCP's and as far as the system can."""
        if link.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        named = {
            "TCP_KEEPIDLE": self.keepalives_idle,
            "TCP_KEEPALIVE": self.keepalives_idle,  # on macOS
            "TCP_KEEPINTVL": self.keepalives_interval,
            "TCP_KEEPCNT": self.keepalives_count,
            "TCP_USER_TIMEOUT": self.tcp_user_timeout,
        }
        for name, value in named.items():
            if hasattr(socket, name):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
