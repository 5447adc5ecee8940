"""Benchmarks, in folders by component, each beside its peer in the same run: `python -m bench` for
the short ones, `python -m bench outbound.costs` for one.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
