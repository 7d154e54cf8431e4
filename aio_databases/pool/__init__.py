"""The connections of a database: lend them, take them back, open and close them."""
