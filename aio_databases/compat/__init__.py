"""Names of other versions and libraries, for programs that move here."""
