"""uWSGI's configurations in XML, YAML and JSON (core/xmlconf.c, core/yaml.c, core/json.c).

YAML is read as uWSGI's own small parser reads it, and its lists as libyaml does: which of the two a
build has is not known here, so a quoted value, on which they differ, counts as not known.
"""

from __future__ import annotations

import json
import re
from typing import Callable, Dict, Iterator, List, Tuple
from xml.parsers import expat

from .uwsgi_ini import Line
from .uwsgi_magic import Magic
from .uwsgi_options import shipped

Pair = Tuple[int, str, str]  # line, key, value
_MOST_DEPTH = 100
_JSON_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')


class NotReadable(ValueError):
    """The file is not what it looks like; the text says why."""


def lines(extension: str, text: str, magic: Magic, section: str) -> Iterator[Line]:
    """Yield what a section sets; raise `NotReadable` if the text is not of that format."""
    replaced, resolved, _ = magic.replace(text)
    for number, key, value in FORMATS[extension](replaced, section):
        known = resolved or "%" not in value
        quoted = extension in ("yaml", "yml") and value[:1] in ("'", '"')
        yield Line(number, key, value, value, known and not quoted, section)


def looks_like_uwsgi(extension: str, text: str) -> bool:
    """Return whether it is a configuration of uWSGI: what it sets are mostly uWSGI's options."""
    if "uwsgi" not in text:
        return False
    try:
        pairs = list(FORMATS[extension](text, "uwsgi"))
    except NotReadable:
        return False
    known = [key for _, key, _ in pairs if key in shipped()]
    return len(known) * 2 > len(pairs)


def _xml(text: str, section: str) -> Iterator[Pair]:
    """Yield the children of <uwsgi>, those with another id left out."""
    found: List[Pair] = []
    open_: List[Tuple[str, Dict[str, str], int, List[str]]] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: Dict[str, str]) -> None:
        if len(open_) > _MOST_DEPTH:
            raise NotReadable("elements nested too deep")
        open_.append((name, attributes, parser.CurrentLineNumber, []))

    def text_of(data: str) -> None:
        if open_:
            open_[-1][3].append(data)

    def end(_name: str) -> None:
        name, attributes, line, parts = open_.pop()
        other = section != "uwsgi" and attributes.get("id", section) != section
        if open_ and open_[-1][0] == "uwsgi" and not other:
            found.append((line, name, "".join(parts).strip() or "1"))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text_of
    parser.EntityDeclHandler = _no_entities
    try:
        parser.Parse(text.encode("utf-8", "surrogateescape"), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        msg = f"no XML ({error})"
        raise NotReadable(msg) from None
    return iter(found)


def _no_entities(*_declaration: object) -> None:
    raise NotReadable("declares entities")


def _yaml(text: str, section: str) -> Iterator[Pair]:
    within, key = False, ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].rstrip()
        stripped = line.lstrip(" \t\r")
        if not stripped:
            continue
        if line[0] not in " \t":
            if within:
                return
            within = stripped.partition(":")[0] == section and ":" in stripped
        elif within and stripped.startswith("- "):
            yield number, key, stripped[2:].strip()
        elif within:
            key, colon, value = stripped.partition(":")
            if not colon or (value and value[0] not in " \t"):
                return
            key = key.rstrip()
            if value.strip():
                yield number, key, value.strip()


def _json(text: str, section: str) -> Iterator[Pair]:
    try:
        content = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        msg = f"no JSON ({error})"
        raise NotReadable(msg) from None
    objects = [value for key, value in _pairs(content) if key == section]
    places = _places(text)
    for key, value in _pairs(objects[0] if objects else []):
        line = places[key].pop(0) if places.get(key) else 1
        for each in value if isinstance(value, list) and not _pairs(value) else [value]:
            if isinstance(each, (str, bool, int)) or each is None:
                yield line, key, _text(each)


def _pairs(value: object) -> List[Tuple[str, object]]:
    """Return the pairs of an object, none if it is none: objects are lists of pairs here."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, tuple)]


def _text(value: object) -> str:
    return str(value) if isinstance(value, str) else str(int(value or 0))  # type: ignore[call-overload]


def _places(text: str) -> Dict[str, List[int]]:
    """Return the lines of each key of a JSON text."""
    found: Dict[str, List[int]] = {}
    line, position = 1, 0
    for match in _JSON_KEY.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        found.setdefault(match[1], []).append(line)
    return found


FORMATS: Dict[str, Callable[[str, str], Iterator[Pair]]] = {
    "xml": _xml,
    "yaml": _yaml,
    "yml": _yaml,
    "json": _json,
    "js": _json,
}
