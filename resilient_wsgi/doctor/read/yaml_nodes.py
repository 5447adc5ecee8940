"""YAML as nodes that know their lines. Needs PyYAML; nothing is constructed of what a tag names.

Only the paths that a rule asks for are followed, so an alias that refers to itself, or a million
times to the same, costs nothing.
"""

from __future__ import annotations

import re
from typing import Any, Iterator, List, Optional, Tuple

from ..model import Location
from .lines import Lines

MOST_NESTED = 200
_BRACKETS = re.compile(r"[\[\]{}]")
_BEGINS_BLOCK = re.compile(r"[:-] [|>][-+\d]{0,2}[ \r]*$")
_TEMPLATE = re.compile(r"\{\{[-\s\w.]|\{%")


class NotYaml(ValueError):
    """The text is no YAML that can be looked at; the message says why."""


class Node:
    """A value of a document; false where there is none, so that paths can be chained."""

    __slots__ = ("_lines", "_node")

    def __init__(self, node: Any, lines: Lines) -> None:
        self._node = node
        self._lines = lines

    def __bool__(self) -> bool:
        return self._node is not None and not self.is_null

    def __repr__(self) -> str:
        return f"<Node {self._lines.file}:{self.line} {self.text or self._kind}>"

    @property
    def _kind(self) -> str:
        return str(self._node.id) if self._node is not None else "nothing"

    @property
    def line(self) -> int:
        """The line it starts on, 0 for nothing."""
        return int(self._node.start_mark.line) + 1 if self._node is not None else 0

    @property
    def location(self) -> Location:
        """Where it stands."""
        return self._lines.at(self.line) if self.line else Location(self._lines.file)

    @property
    def text(self) -> str:
        """The text of a scalar, `""` for everything else."""
        return str(self._node.value) if self._kind == "scalar" else ""

    @property
    def is_null(self) -> bool:
        """Whether it is written as no value."""
        return self._kind == "scalar" and self.text in ("", "~", "null") and not self._node.style

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return self._kind == "mapping"

    @property
    def is_sequence(self) -> bool:
        """Whether it is a list."""
        return self._kind == "sequence"

    @property
    def style(self) -> Optional[str]:
        """How a scalar is written: `|` and `>` for blocks, quotes, or None."""
        return self._node.style if self._kind == "scalar" else None

    def number(self) -> Optional[float]:
        """Return the number it is, None if it is none."""
        try:
            return float(self.text)
        except ValueError:
            return None

    def get(self, *path: str) -> Node:
        """Return the value under a key, or under a path of keys."""
        node = self
        for key in path:
            node = node._value(key)
        return node

    def items(self) -> Iterator[Tuple[str, Node]]:
        """Yield keys and values, those of merged mappings (`<<`) after its own."""
        for mapping in self._mappings():
            for key, value in mapping.value:
                if key.id == "scalar" and key.value != "<<":
                    yield str(key.value), Node(value, self._lines)

    def each(self) -> List[Node]:
        """Return the values of a list, none for everything else."""
        return [Node(each, self._lines) for each in self._node.value] if self.is_sequence else []

    def words(self) -> List[str]:
        """Return the texts of a list, or the one text as one word."""
        return [each.text for each in self.each()] if self.is_sequence else [self.text]

    def _value(self, key: str) -> Node:
        found = None
        for mapping in self._mappings():
            for name, value in mapping.value:
                if name.id == "scalar" and name.value == key:
                    found = value  # a repeated key: the last counts
            if found is not None:
                break
        return Node(found, self._lines)

    def _mappings(self) -> Iterator[Any]:
        """Yield the node itself, and what it merges, each once."""
        seen, todo = set(), [self._node] if self.is_mapping else []
        while todo:
            node = todo.pop(0)
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.id == "mapping":
                yield node
                todo += [value for name, value in node.value if name.value == "<<"]
            elif node.id == "sequence":
                todo += node.value


def documents(lines: Lines) -> List[Node]:
    """Return the documents in a text.

    Raises `NotYaml`, with the reason: no PyYAML, too large, too deep, a template, a mistake.
    """
    try:
        import yaml
    except ImportError:
        msg = "needs PyYAML: pip install 'resilient-wsgi[doctor]'"
        raise NotYaml(msg) from None
    _check(lines)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        nodes = list(yaml.compose_all(lines.text, Loader=loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotYaml(_reason(error)) from None
    return [Node(each, lines) for each in nodes if each is not None]


def _check(lines: Lines) -> None:
    text = lines.text
    if lines.too_long:
        raise NotYaml(lines.too_long)
    template = _TEMPLATE.search(text)
    if template and "{{" in template[0] and not _only_in_strings(text):
        msg = f"a template ({template[0].strip()}), not a manifest: render it first"
        raise NotYaml(msg)
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += 1 if found[0] in "[{" else -1
        if depth > MOST_NESTED:
            msg = f"nested deeper than {MOST_NESTED} levels"
            raise NotYaml(msg)


def _only_in_strings(text: str) -> bool:
    """Return whether every `{{` stands within quotes or a block, as in the annotations of other
    tools.
    """
    return all(
        re.search(r"""["'].*\{\{.*["']""", line)
        for line in _outside_of_blocks(text.split("\n"))
        if "{{" in line
    )


def _outside_of_blocks(lines: List[str]) -> Iterator[str]:
    """Yield the lines that are not text behind `key: |`: those are indented further."""
    block = -1  # how far the line that begins it is indented
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        if block >= 0 and (indent > block or not line.strip()):
            continue
        block = indent if _BEGINS_BLOCK.search(line) else -1
        yield line


def _reason(error: BaseException) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None:
        return f"not YAML: line {mark.line + 1}: {problem or 'cannot be read'}"
    return "not YAML"
