"""Patterns of hosts, as settings have them: `api.example:8443`, `api.example`, `*.example`."""

from __future__ import annotations

from typing import List, Optional


def patterns(host: str, port: Optional[int]) -> List[str]:
    """Return the patterns that match a host, the most specific first."""
    names = [f"[{host}]" if ":" in host else host]
    labels = host.split(".")
    if ":" not in host:
        names += ["*." + ".".join(labels[i:]) for i in range(1, len(labels))]
    return [pattern for name in names for pattern in (f"{name}:{port}", name)]
