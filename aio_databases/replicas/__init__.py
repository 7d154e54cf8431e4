"""Where reads go."""
