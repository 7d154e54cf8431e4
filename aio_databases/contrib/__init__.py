"""The library beside others: modules that stand on its public names only."""
