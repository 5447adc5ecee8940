"""Overload: requests that have waited too long are answered with 503 instead of being run."""
