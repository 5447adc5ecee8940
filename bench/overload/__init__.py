"""Shedding."""
