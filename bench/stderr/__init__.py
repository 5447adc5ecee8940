"""Writes to standard error."""
