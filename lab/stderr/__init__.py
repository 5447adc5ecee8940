"""Servers whose log is not read."""
