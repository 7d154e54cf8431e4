"""One connection to a database server, and everything that runs on it."""
