"""nginx's configuration with its includes, and the locations that pass requests to an app."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from functools import cached_property
from glob import iglob
from itertools import islice
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple

from ..subject import Source, Subject
from . import nginx_syntax, uwsgi_export
from .lines import Lines
from .nginx_syntax import Directive, NotNginx, seconds

_NAMES = (".conf", ".nginx", ".vhost", ".conf.example", ".conf.sample")
_IS_NGINX = re.compile(
    r"^\s*(?:(?:uwsgi|proxy|fastcgi)_pass\s[^;{}]+;|(?:http|events|server|upstream\s+\S+)\s*\{)",
    re.MULTILINE,
)
_SHIPPED = ("mime.types", "uwsgi_params", "proxy_params", "fastcgi_params", "scgi_params",
            "fastcgi.conf", "koi-utf", "koi-win", "win-utf")  # fmt: skip
MOST_INCLUDES = 1000
MOST_LEVELS = 32
_PASSES = ("uwsgi_pass", "proxy_pass")
_FILE_OF_A_DUMP = re.compile(r"^# configuration file (.+):$", re.MULTILINE)  # nginx -T
_TEMPLATE = re.compile(r"\{\{|\{%|<%")

OpenAll = Callable[[str], List[Lines]]  # a path or a pattern -> the files it names


class Pass:
    """A location that hands requests on: `uwsgi_pass` or `proxy_pass`."""

    __slots__ = ("config", "directive", "protocol")

    def __init__(self, config: NginxConfig, directive: Directive) -> None:
        self.config = config
        self.directive = directive
        self.protocol = directive.name.partition("_")[0]  # the prefix of its other directives

    def __repr__(self) -> str:
        return f"<Pass {self.directive!r}>"

    @property
    def target(self) -> str:
        """What it passes to, without the scheme and the path: `127.0.0.1:8000`, `unix:/run/x.sock`,
        the name of an upstream.
        """
        address = self.directive.value
        for scheme in ("uwsgi://", "suwsgi://", "http://", "https://"):
            address = address.removeprefix(scheme)
        if address.startswith("unix:"):
            return "unix:" + address[5:].split(":", 1)[0]
        return address.split("/", 1)[0]

    @property
    def upstream(self) -> Optional[Directive]:
        """The block of its upstream, None if it passes to an address."""
        return self.config.upstreams.get(self.target)

    def servers(self) -> List[str]:
        """Return the addresses that it passes to; those that are marked down are left out."""
        if self.upstream is None:
            return [self.target]
        return [each.value for each in self.upstream.own("server") if "down" not in each.args]

    def option(self, name: str) -> Optional[Directive]:
        """Return the directive `uwsgi_NAME` or `proxy_NAME` that holds here, None without one."""
        found = self.all(name)
        return found[-1] if found else None

    def all(self, name: str) -> List[Directive]:
        """Return all directives `uwsgi_NAME` or `proxy_NAME` that hold here."""
        assert self.directive.parent is not None
        return self.directive.parent.inherited(f"{self.protocol}_{name}")

    @property
    def set_elsewhere(self) -> bool:
        """Whether a file that is included around it, and was not found, may set what is missing.

        The files of a pattern (`conf.d/*.conf`) hold servers, and those that come with nginx no
        timeouts.
        """
        includes = (each for block in self.directive.ancestors() for each in block.own("include"))
        return any(
            not each.found
            and not set("*?[") & set(each.value)
            and posixpath.basename(each.value) not in _SHIPPED
            for each in includes
        )

    def seconds(self, name: str, default: float) -> Optional[float]:
        """Return the time that an option sets, None if it cannot be known (a variable)."""
        found = self.option(name)
        return default if found is None else seconds(found.value)


class NginxConfig:
    """A configuration, its includes in place; a snippet if it has no `http` block."""

    def __init__(self, lines: Lines, root: Directive) -> None:
        self.lines = lines
        self.file = lines.file
        self.root = root
        self.missing: List[str] = []  # files that are included and were not found
        self.included: List[str] = []  # files whose directives stand in this one

    def __repr__(self) -> str:
        return f"<NginxConfig {self.file}>"

    @cached_property
    def parts(self) -> Set[str]:
        """The files whose directives stand in this one, links followed."""
        return set(map(os.path.realpath, self.included))

    @property
    def whole(self) -> bool:
        """Whether this is what nginx starts with: nothing around it can set anything."""
        return bool(self.root.own("http") or self.root.own("events"))

    @cached_property
    def upstreams(self) -> Dict[str, Directive]:
        """The blocks of the upstreams by name."""
        found = (each for each in self.root.walk() if each.name == "upstream" and each.block)
        return {each.value: each for each in found}

    def named(self, *names: str) -> Iterator[Directive]:
        """Yield all directives with one of these names, wherever they stand."""
        return (each for each in self.root.walk() if each.name in names)

    def passes(self) -> List[Pass]:
        """Return what hands requests to an app."""
        return [Pass(self, each) for each in self.named(*_PASSES) if each.args]


def recognises(name: str, text: str) -> bool:
    """Return whether it is a configuration of nginx, a part of one, or the output of `nginx -T`."""
    if text.startswith("# configuration file "):
        return True
    named = "." not in name or name.endswith(_NAMES)
    return (name == "nginx.conf" and "{" in text) or (named and bool(_IS_NGINX.search(text)))


def read(subject: Subject, source: Source, open_file: uwsgi_export.Open) -> None:
    """Add the configuration with its includes, unless another one includes it."""

    def open_files(path: str) -> List[Lines]:
        if posixpath.basename(path) in _SHIPPED and not os.path.exists(path):
            return []  # nginx's own, which a repository need not have
        paths = [path]
        if set("*?[") & set(path):
            paths = sorted(islice(iglob(path), MOST_INCLUDES))
        found = (open_file(each, "") for each in paths)
        return [Lines(each.file, each.text) for each in found if each is not None]

    try:
        config = parse(Lines(source.file, source.text), open_files)
    except NotNginx as error:
        subject.skip(source.file, str(error))
        return
    subject.nginx[:] = [each for each in subject.nginx if not _is_part(each, config)]
    if not any(_is_part(config, each) for each in subject.nginx):
        subject.nginx.append(config)


def _is_part(config: NginxConfig, of: NginxConfig) -> bool:
    """Return whether a file is included by another, be it by a link: sites-enabled has those."""
    return os.path.realpath(config.file) in of.parts


def parse(lines: Lines, open_files: Optional[OpenAll] = None) -> NginxConfig:
    """Return the configuration in a text, or in the output of `nginx -T`.

    `open_files` returns the files that an `include` names; without it none is read. Raises
    `NotNginx`.
    """
    dump = _files_of_a_dump(lines)
    if dump:
        (main, _), *_rest = dump.items()
        lines = dump[main]
        open_files = _from_dump(dump)
    template = _TEMPLATE.search(lines.text)
    if template:
        msg = f"a template ({template[0]}), not a configuration: render it first"
        raise NotNginx(msg, lines.number(template.start()))
    config = NginxConfig(lines, nginx_syntax.parse(lines))
    _Includes(config, open_files or _nothing).expand()
    return config


class _Includes:
    def __init__(self, config: NginxConfig, open_files: OpenAll) -> None:
        self.config = config
        self.open_files = open_files
        self.left = MOST_INCLUDES
        self.folder = posixpath.dirname(config.file)

    def expand(self) -> None:
        todo: List[Tuple[Directive, Tuple[str, ...]]] = [(self.config.root, (self.config.file,))]
        while todo:
            block, files = todo.pop()
            todo += self._expand_one(block, files)

    def _expand_one(
        self, block: Directive, files: Tuple[str, ...]
    ) -> List[Tuple[Directive, Tuple[str, ...]]]:
        """Put what is included in a block in place of `include`; return the blocks in it."""
        expanded: List[Directive] = []
        blocks: List[Tuple[Directive, Tuple[str, ...]]] = []
        todo = [(each, files) for each in reversed(block.children)]
        while todo:
            each, within = todo.pop()
            expanded.append(each)
            if each.block is not None:
                blocks.append((each, within))
            if each.name == "include" and each.args and len(within) < MOST_LEVELS:
                roots = self._included(each.value, within)
                each.found = bool(roots)
                for root in roots:
                    for child in root.children:
                        child.parent = block
                    inner = (*within, root.lines.file)
                    todo += [(child, inner) for child in reversed(root.children)]
        block.block = expanded
        return blocks

    def _included(self, pattern: str, within: Tuple[str, ...]) -> List[Directive]:
        if self.left <= 0:
            return []
        # relative to the main file, whichever file the include stands in
        path = pattern if pattern.startswith("/") else posixpath.join(self.folder, pattern)
        found = self.open_files(path)
        if not found and not set("*?[") & set(pattern):
            self.config.missing.append(pattern)
        roots = []
        for lines in found[: self.left]:
            self.left -= 1
            if lines.file in within:
                continue  # nginx would not end, either
            try:
                roots.append(nginx_syntax.parse(lines))
            except NotNginx:
                self.config.missing.append(lines.file)
            else:
                self.config.included.append(lines.file)
        return list(reversed(roots))


def _nothing(_path: str) -> List[Lines]:
    return []


def _files_of_a_dump(lines: Lines) -> Dict[str, Lines]:
    marks = list(_FILE_OF_A_DUMP.finditer(lines.text))
    files: Dict[str, Lines] = {}
    for mark, after in zip(marks, [*marks[1:], None]):
        text = lines.text[mark.end() : after.start() if after else len(lines.text)]
        files.setdefault(mark[1], Lines(mark[1], text.lstrip("\n")))
    return files


def _from_dump(dump: Dict[str, Lines]) -> OpenAll:
    def open_files(path: str) -> List[Lines]:
        if set("*?[") & set(path):
            return [dump[name] for name in sorted(dump) if fnmatch.fnmatch(name, path)]
        return [dump[path]] if path in dump else []

    return open_files
