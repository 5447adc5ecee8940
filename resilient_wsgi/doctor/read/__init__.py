"""Readers, one module a format; none of them runs, imports or contacts anything."""
