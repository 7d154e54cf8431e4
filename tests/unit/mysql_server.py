"""A server that speaks as much of MySQL's protocol as a login takes, to play what no MariaDB does."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from contextlib import suppress

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

OK = b"\0\0\0" + struct.pack("<HH", 2, 0)
_SALT = b"0123456789abcdefghij"
_BASIC = 0x1 | 0x2 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000  # what every client asks for, and plugins for the login
_TLS = 0x800


class Talk:
    """One connection, packet by packet."""

    def __init__(self, connection):
        self._connection = connection
        self._number = 0
        self.received = []

    def send(self, payload):
        self._connection.sendall(struct.pack("<I", len(payload))[:3] + bytes([self._number]) + payload)
        self._number += 1

    def receive(self):
        header = self._exactly(4)
        payload = self._exactly(int.from_bytes(header[:3], "little"))
        self._number = header[3] + 1
        self.received.append(payload)
        return payload

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            chunk = self._connection.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data


class ScriptedServer:
    """Plays one conversation in a thread; `received` holds the packets of the client."""

    def __init__(self, play):
        self._play = play
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = []
        self._failure = None
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            talk = Talk(connection)
            self.received = talk.received
            try:
                with suppress(EOFError):
                    self._play(talk)
            except Exception as exc:  # noqa: BLE001 - it is raised where the server is used
                self._failure = exc


def greeting(*, tls, plugin=b"mysql_native_password"):
    """Return the first packet of a server."""
    flags = _BASIC | (_TLS if tls else 0)
    parts = (
        b"\x0a8.4.3\0",
        struct.pack("<I", 7),
        _SALT[:8] + b"\0",
        struct.pack("<HBHHB", flags & 0xFFFF, 45, 2, flags >> 16, 21),
        b"\0" * 10,
        _SALT[8:] + b"\0",
        plugin + b"\0",
    )
    return b"".join(parts)


def answer_queries(talk):
    """Say yes to whatever is asked, until the client leaves."""
    while talk.receive()[0] != 1:
        talk.send(OK)


def sha2_login(talk, *, known):
    """Log a client in by caching_sha2_password, and return the password that it has proved to know."""
    talk.send(greeting(tls=False, plugin=b"caching_sha2_password"))
    talk.receive()
    salt = os.urandom(20).replace(b"\0", b"x")
    talk.send(b"\xfecaching_sha2_password\0" + salt + b"\0")
    proof = talk.receive()
    first = hashlib.sha256(b"secret").digest()
    nonce = hashlib.sha256(hashlib.sha256(first).digest() + salt).digest()
    assert proof == bytes(a ^ b for a, b in zip(first, nonce, strict=True))
    if known:
        talk.send(b"\1\3")
        talk.send(OK)
        return b"secret"
    talk.send(b"\1\4")
    password = _receive_by_rsa(talk, salt)
    talk.send(OK)
    return password


def _receive_by_rsa(talk, salt):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert talk.receive() == b"\2"
    talk.send(b"\1" + public)
    sha1 = hashes.SHA1()  # noqa: S303 - the protocol wants it
    plain = key.decrypt(talk.receive(), padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None))
    return bytes(a ^ salt[i % len(salt)] for i, a in enumerate(plain)).removesuffix(b"\0")
