"""A primary and the servers that follow it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class ReplicatedCluster:
    """A primary and its followers, for the length of a block.

    Args:
        make_primary: makes the primary.
        make_follower: makes a server that follows the primary it is given, which runs.
        followers: how many.
    """

    def __init__(self, make_primary: Callable[[], Any], make_follower: Callable[[Any], Any], followers: int) -> None:
        self._make_primary = make_primary
        self._make_follower = make_follower
        self._count = followers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers."""
        with ExitStack() as stack:
            self.primary = stack.enter_context(self._make_primary())
            self.followers = [stack.enter_context(self._make_follower(self.primary)) for _ in range(self._count)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def create_database(self) -> str:
        """Create an empty database for the ordinary user on all servers and return its name."""
        name: str = self.primary.create_database()
        self.wait_until_caught_up()
        return name

    def wait_until_caught_up(self) -> None:
        """Wait until every follower has replayed what the primary has committed by now."""
        for follower in self.followers:
            follower.wait_until_caught_up()

    def heal(self) -> None:
        """Undo what was done to the servers: all run, and the followers have caught up."""
        if not self.primary.is_running:
            self.primary.start()
        self.primary.resume()
        for follower in self.followers:
            follower.heal()
