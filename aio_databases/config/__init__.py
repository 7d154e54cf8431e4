"""URLs and options."""
