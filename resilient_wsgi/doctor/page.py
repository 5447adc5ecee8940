"""The page of a rule: the same text in docs/rules/ and for `--explain`."""

from __future__ import annotations

from typing import Iterator, List, Mapping

from .collect import from_texts
from .examine import examine
from .model import Rule
from .render.text import place

_LANGUAGES = (
    (".ini", "ini"),
    (".conf", "nginx"),
    (".py", "python"),
    (".yaml", "yaml"),
    (".yml", "yaml"),
    ("Dockerfile", "dockerfile"),
    (".service", "ini"),
)
_ABOUT = {"machine": "On a machine with", "live": "A running instance with"}
_WITHOUT_COMMENTS = ("P",)  # about what runs, not about a file


def page(rule: Rule) -> str:
    """Return the page in Markdown."""
    return "\n".join([*_head(rule), *_examples(rule), *_tail(rule), ""])


def _head(rule: Rule) -> List[str]:
    severity = rule.severity.value.capitalize()
    return [f"# {rule.code}: {rule.title}", "", f"**{severity}.** {rule.why}", ""]


def _examples(rule: Rule) -> Iterator[str]:
    if rule.bad:
        yield from ("## Bad", "", *_files(rule.bad))
        found = [each for each in examine(from_texts(rule.bad)) if each.code == rule.code]
        yield from ("reported as", "", "```text")
        for each in found:
            yield f"{place(each)}: {each.severity.value} {each.code}: {each.message}"
        yield from ("```", "")
    if rule.good:
        yield from ("## Good", "", *_files(rule.good))


def _files(files: Mapping[str, str]) -> Iterator[str]:
    for name, text in files.items():
        about = _ABOUT.get(name, f"`{name}`:")
        yield from (about, "", f"```{_language(name, text)}", text.rstrip("\n"), "```", "")


def _language(name: str, text: str) -> str:
    if name.endswith(".conf") and text.lstrip().startswith("["):
        return "ini"
    return next((language for end, language in _LANGUAGES if name.endswith(end)), "text")


def _tail(rule: Rule) -> Iterator[str]:
    yield from ("## Fix", "", rule.fix, "")
    if not rule.code.startswith(_WITHOUT_COMMENTS):
        sign = ";" if rule.code.startswith("U") else "#"
        yield from ("## Ignore it", "", "On the line above, with your reason:", "")
        yield from (
            f"```text\n{sign} doctor: ignore {rule.code} -- why it does not matter here",
            "```",
            "",
        )
    yield from ("## Sources", "", *(f"- {each}" for each in rule.sources))
