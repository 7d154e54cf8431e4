"""What a socket shows without being read."""

from __future__ import annotations

import select

_ENDED = getattr(select, "POLLRDHUP", 0)  # Linux's; elsewhere only a broken link shows


def hung_up(fileno: int) -> bool:
    """Return whether the other end has closed the connection behind a file descriptor, or it is broken."""
    if fileno < 0:
        return True
    if not hasattr(select, "poll"):
        return False  # Windows has none
    poll = select.poll()
    poll.register(fileno, _ENDED)
    return bool(poll.poll(0))
