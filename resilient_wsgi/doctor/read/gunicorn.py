"""Settings of gunicorn, from its configuration file and its command line; neither is run."""

from __future__ import annotations

import ast
import pkgutil
import re
import shlex
import warnings
from functools import cache
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..model import Location
from ..subject import Source, Subject
from .lines import Lines
from .uwsgi_export import Open

# settings whose names hardly any other Python file assigns, in the first column
_TYPICAL = re.compile(
    r"^(bind|workers|worker_class|worker_connections|worker_tmp_dir|graceful_timeout|accesslog|"
    r"errorlog|max_requests|max_requests_jitter|preload_app|keepalive|wsgi_app)\s*=",
    re.MULTILINE,
)
_ENOUGH = 2
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//"}
_MOST_DIGITS = 12
MOST_CHARACTERS = 256 << 10


class Unknown:
    """The value of a setting that follows from what only running the file would tell."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()


class Setting(NamedTuple):
    """A setting as it is given."""

    name: str
    value: Any  # UNKNOWN if it is computed
    expression: str  # as it is written
    location: Location


class Gunicorn:
    """The settings of one instance: those of its file, then those of its command line."""

    def __init__(
        self, location: Location, settings: Sequence[Setting], hooks: Sequence[str] = ()
    ) -> None:
        self.location = location
        self.settings = list(settings)
        self.hooks = tuple(hooks)  # functions of the file: post_fork, worker_abort, ...

    def __repr__(self) -> str:
        return f"<Gunicorn {self.location.file}: {len(self.settings)} settings>"

    def last(self, name: str) -> Optional[Setting]:
        """Return the setting that counts, None if it is not given."""
        found = [each for each in self.settings if each.name == name]
        return found[-1] if found else None

    def value(self, name: str, default: Any = None) -> Any:
        """Return the value of a setting, `default` if it is not given, None if it is unknown."""
        setting = self.last(name)
        if setting is None:
            return default
        return None if setting.value is UNKNOWN else setting.value

    def number(self, name: str, default: Optional[int] = None) -> Optional[int]:
        """Return a setting that is a number, `default` if it is not given, None if unknown."""
        value = self.value(name, default)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def worker(self) -> Optional[str]:
        """Return the kind of worker: sync, gthread, gevent, ...; None if it is unknown.

        gunicorn takes gthread instead of sync if there are several threads.
        """
        kind, threads = self.value("worker_class", "sync"), self.number("threads", 1)
        if not isinstance(kind, str) or (kind == "sync" and threads is None):
            return None
        return "gthread" if kind == "sync" and threads and threads > 1 else kind.lower()

    def beside(self, settings: Sequence[Setting], location: Location) -> Gunicorn:
        """Return these settings with those of a command line, which win, at its location."""
        return Gunicorn(location, [*self.settings, *settings], self.hooks)


def recognises(name: str, text: str) -> bool:
    """Return whether it is a configuration file of gunicorn."""
    if not name.endswith(".py"):
        return False
    if "gunicorn" in name:
        return True
    found = {each[1] for each in _TYPICAL.finditer(text)}
    return len(found) >= _ENOUGH and "import gunicorn" not in text


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add its settings, or say why it was not looked at."""
    del open_file
    if len(source.text) > MOST_CHARACTERS:
        subject.skip(source.file, f"larger than {MOST_CHARACTERS >> 10} KB")
        return
    try:
        subject.gunicorn.append(parse(Lines(source.file, source.text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        subject.skip(source.file, f"not Python: {error}")


def parse(lines: Lines) -> Gunicorn:
    """Return the settings of a file. Raises what `ast.parse` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the file's author, not of ours
        tree = ast.parse(lines.text)
    known: Dict[str, Any] = {}
    found: List[Setting] = []
    for name, value, sure in _assignments(tree):
        computed = _value(value, known) if sure else UNKNOWN
        known[name] = computed
        expression = (ast.get_source_segment(lines.text, value) or "")[:200]
        found.append(Setting(name, computed, expression, lines.at(value.lineno)))
    hooks = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
    return Gunicorn(lines.at(found[0].location.line if found else 1), found, hooks)


def from_words(words: Sequence[str], location: Location) -> List[Setting]:
    """Return the settings on a command line."""
    found, left = [], list(words)
    while left:
        option, equals, value = left.pop(0).partition("=")
        name, flag = options().get(option, ("", True))
        if not name and re.match(r"-[a-zA-Z].", option) and not option.startswith("--"):
            option, value, equals = option[:2], f"{option[2:]}{equals}{value}", "="
            name, flag = options().get(option, ("", True))
        if not name:
            continue
        if not flag and not equals:
            value = left.pop(0) if left else ""
        found.append(Setting(name, True if flag else _plain(value), value, location))
    return found


def from_environment(environment: Mapping[str, str], location: Location) -> List[Setting]:
    """Return the settings in the environment of a command: GUNICORN_CMD_ARGS, WEB_CONCURRENCY."""
    found: List[Setting] = []
    if "WEB_CONCURRENCY" in environment:
        count = environment["WEB_CONCURRENCY"]
        found.append(Setting("workers", _plain(count), count, location))
    try:
        words = shlex.split(environment.get("GUNICORN_CMD_ARGS", ""))
    except ValueError:
        words = []
    return [*found, *from_words(words, location)]


@cache
def options() -> Dict[str, Tuple[str, bool]]:
    """Return the name of the setting, and whether it takes no value, by option."""
    return {word: (name, kind == "flag") for name, kind, *words in _table() for word in words}


@cache
def names() -> List[str]:
    """Return the names of all settings."""
    return [name for name, *_ in _table()]


def _table() -> Iterator[List[str]]:
    text = (pkgutil.get_data(__package__, "gunicorn.settings") or b"").decode()
    return (line.split() for line in text.splitlines() if line and not line.startswith("#"))


def _assignments(tree: ast.Module) -> Iterator[Tuple[str, ast.expr, bool]]:
    """Yield what a module assigns: name, value, and whether that is sure to happen."""
    for node in tree.body:
        sure = isinstance(node, (ast.Assign, ast.AnnAssign))
        if sure or isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for each in ast.walk(node):
                if isinstance(each, ast.Assign):
                    for target in each.targets:
                        if isinstance(target, ast.Name):
                            yield target.id, each.value, sure
                elif isinstance(each, ast.AnnAssign) and each.value is not None:
                    yield ast.unparse(each.target), each.value, sure


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return the value of an expression of constants and names of them, else UNKNOWN."""
    if isinstance(node, ast.Name):
        return known.get(node.id, UNKNOWN)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _computed(_value(node.left, known), _value(node.right, known), type(node.op))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _computed(left: Any, right: Any, operator: type) -> Any:
    if not (isinstance(left, int) and isinstance(right, int)):
        return UNKNOWN
    if max(len(str(left)), len(str(right))) > _MOST_DIGITS:
        return UNKNOWN
    symbol = _OPERATORS[operator]  # type: ignore[index]
    if symbol == "//":
        return left // right if right else UNKNOWN
    return {"+": left + right, "-": left - right, "*": left * right}[symbol]


def _plain(value: str) -> Any:
    if re.fullmatch(r"-?\d{1,12}", value):
        return int(value)
    return UNKNOWN if "$" in value or "{{" in value else value
