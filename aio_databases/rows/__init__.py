"""Rows, and the Python values made of them."""
