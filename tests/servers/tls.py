"""The certificate that the private servers of one run show to clients."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import trustme

from servers.process import run_folder
from servers.system import give_to_account

if TYPE_CHECKING:
    from pathlib import Path


class Certificate(NamedTuple):
    """The PEM files of a certificate."""

    authority: Path
    """What a client must trust."""
    chain: Path
    key: Path


@functools.cache
def certificate() -> Certificate:
    """Make the run's certificate for `localhost` and 127.0.0.1, issued by an authority of its own."""
    folder = run_folder() / "tls"
    folder.mkdir()
    made = Certificate(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(made.authority)
    made.chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    made.key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(made.key, append=True)
    # Servers refuse a key that anybody else might read.
    for path in (folder, *made):
        give_to_account(path)
    return made
