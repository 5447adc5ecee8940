"""Threads, forks and exits."""
