"""Ignore comments that are out of order; found by `ignoring`, after the other rules have run."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, rule
from ..subject import Subject


@rule(
    "U00",
    Severity.HINT,
    "an ignore comment has no reason, or nothing to ignore",
    why=(
        "An ignored finding is a decision. Whoever reads the file next needs its reason, and a "
        "comment that ignores nothing any more hides the next finding of that rule."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\n; doctor: ignore U01\nlog-x-forwarded-for = false ; see nginx\n",
    },
    good={
        "uwsgi.ini": (
            "[uwsgi]\n; doctor: ignore U01 -- it is meant to be on\n"
            "log-x-forwarded-for = false ; see nginx\n"
        ),
    },
    fix="Write `doctor: ignore CODE -- the reason`, or delete the comment.",
    sources=("ruff (unused noqa) and kube-linter (a reason is asked for) do the same",),
)
def ignore_comment_out_of_order(_subject: Subject) -> Iterator[Evidence]:
    """Find nothing by itself: what an ignore is for is known after the other rules have run."""
    yield from ()
