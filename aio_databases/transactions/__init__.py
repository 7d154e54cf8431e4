"""What happens inside a transaction."""
