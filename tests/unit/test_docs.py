"""Every code block of the README and the docs is valid, and every link leads somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Iterator, List, NamedTuple, Set

import pytest

from resilient_wsgi.cli.main import known

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / each for each in ("README.md", "CHANGELOG.md"))]
)
BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
SITE = "https://github.com/resilient-wsgi/resilient-wsgi/blob/main/"


class Block(NamedTuple):
    """A block of code, and where it is."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        if page.parent.name == "rules":
            continue  # half of those are wrong on purpose; tests/unit/doctor runs them
        text = page.read_text()
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, line, found[2], textwrap.dedent(found[3]))


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [each for each in blocks() if each.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=str)


@of("python")
def test_python_compiles(block):
    compile(block.text, str(block), "exec", dont_inherit=True)


@of("sh", "bash")
def test_shell_parses(block):
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr


@of("json")
def test_json_parses(block):
    json.loads(block.text)


@of("yaml")
def test_yaml_parses(block):
    yaml = pytest.importorskip("yaml")
    assert list(yaml.safe_load_all(block.text))


@of("ini")
def test_ini_has_sections_and_no_comment_behind_a_value(block):
    # uWSGI takes a comment behind a value for a part of the value
    for line in block.text.splitlines():
        assert re.fullmatch(r"\[[\w.:-]+\]|[;#].*|[\w-]+ *=[^;#]*|\w[\w-]* *=.*[^ ]|", line), line
        assert not re.search(r"= *[^;#]+ [;#] ", line), line


@of("nginx")
def test_nginx_balances_its_braces(block):
    assert block.text.count("{") == block.text.count("}")
    assert all(re.fullmatch(r" *(#.*|.*[;{}])( *#.*)?|", line) for line in block.text.splitlines())


@of("console", "sh")
def test_the_verbs_of_the_command_line_are_there(block):
    for verb in re.findall(r"^\$? *resilient-wsgi +([a-z]\w*)", block.text, re.MULTILINE):
        assert verb in known()


def test_every_language_is_checked():
    checked = {"", "text", "python", "sh", "bash", "json", "yaml", "ini", "nginx", "console"}
    assert {each.language for each in blocks()} <= checked | {"dockerfile", "systemd", "toml"}
    assert len(list(blocks())) > 60  # the pattern still finds them


def slug(title: str) -> str:
    """Return the anchor of a heading, as Python-Markdown makes it."""
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(page: Path) -> Set[str]:
    text = BLOCK.sub("", page.read_text())
    named = re.findall(r"(?:id|name)=\"([^\"]+)\"|\{ *#([\w-]+) *\}", text)
    titles = re.findall(r"^#+ +(.*?)(?: *\{.*\})?$", text, re.MULTILINE)
    return {slug(each) for each in titles} | {each for pair in named for each in pair if each}


def links(page: Path) -> List[str]:
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    return [a or b for a, b in LINK.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in links(page):
        if link.startswith(SITE):
            target, base = link[len(SITE) :], ROOT
        elif re.match(r"https?:|mailto:", link):
            continue
        else:
            target, base = link, page.parent
        path, _, anchor = target.partition("#")
        file = (base / path).resolve() if path else page
        assert file.exists(), f"{link} of {page}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{link} of {page}"


def test_no_page_is_left_out_of_the_site():
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    # the pages of rules are listed by their own index
    assert {each for each in pages if each not in nav and not each.startswith("rules/")} == set()
