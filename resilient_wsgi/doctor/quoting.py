"""Lines of files, as they may be shown: without what looks like a secret."""

from __future__ import annotations

import re

from ..core.text import redacted

# `DB_PASSWORD: x` of YAML, `"password": "x"` of JSON, `name: DB_PASSWORD, value: x` of a manifest
_NAMED = re.compile(
    r"""(?i)((?:password|passwd|passphrase|[_-]pass|secret|token|api[_-]?key|[_-]key)(?:[_-]\w{1,20})?"""
    r"""["']?(?:[ ]{0,9},[ ]{0,9}["']?value["']?)?[ ]{0,9}(?::[ ]{1,9}|=(?!=)[ ]{0,9}))"""
    r"""(?:"[^"]*"|'[^']*'|[^\s"',}]+)"""
)
# `ENV DB_PASSWORD x` of a Dockerfile
_ENV = re.compile(
    r"(?i)^(\s*env\s+\w{0,60}(?:password|passwd|_pass|secret|token|key)\w{0,60}\s+)\S.*"
)


def quoted(text: str) -> str:
    """Return a line of a file without the values that its names call a secret."""
    return _ENV.sub(r"\1***", _NAMED.sub(r"\1***", redacted(text)))
