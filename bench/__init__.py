"""Benchmarks, each beside its peer in the same run: `python -m bench`, or `python -m bench hello`
for one.
"""
