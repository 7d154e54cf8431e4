"""URLs made from others."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def placed(url, **parts):
    """Return a URL with another `user`, `password`, `host`, `port` or `database`; an empty part is left out."""
    split = urlsplit(url)
    login, _, place = split.netloc.rpartition("@")
    user, _, password = login.partition(":")
    quoted = {name: quote(str(value), safe="") for name, value in parts.items()}
    known = {"user": user, "password": password, "host": place.partition(":")[0], "port": place.partition(":")[2]}
    known |= quoted
    login = known["user"] + (f":{known['password']}" if known["password"] else "")
    place = known["host"] + (f":{known['port']}" if known["port"] else "")
    netloc = f"{login}@{place}" if login else place
    path = f"/{quoted['database']}" if "database" in quoted else split.path
    return f"{split.scheme}://{netloc}{path}{'?' if split.query else ''}{split.query}"


def on_hosts(url, *hosts):
    """Return a URL with several hosts, each `host:port`; its own one stands for None."""
    split = urlsplit(url)
    login, _, own = split.netloc.rpartition("@")
    return split._replace(netloc=f"{login}@{','.join(host or own for host in hosts)}").geturl()


def with_option(url, option):
    """Return a URL with one more option, or several, in its query."""
    return f"{url}{'&' if '?' in url else '?'}{option}"
