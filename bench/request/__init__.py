"""Deadlines and the watchdog."""
