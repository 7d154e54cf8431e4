"""What the core asks of a database, as data."""
