from __future__ import annotations

import sys

import pytest

from resilient_wsgi.core.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/offers/7", "/offers/7"),
        ("/größe/日本", "/größe/日本"),
        ("", ""),
        ("/a\r\nERROR forged", "/a\\r\\nERROR forged"),
        ("\x1b[2J\x07\x00\x7f\x9b", "\\x1b[2J\\x07\\x00\\x7f\\x9b"),
        ("abc\u202edef\u2066\u200b\ufeff", "abc\\u202edef\\u2066\\u200b\\ufeff"),
        ("line\u2028separator\x85", "line\\u2028separator\\x85"),
        ("\udcff\U000e0001", "\\udcff\\U000e0001"),
        ("C:\\n", "C:\\n"),
    ],
)
def test_what_does_not_print_as_itself_is_escaped(text, shown):
    assert printable(text) == shown


def test_no_character_that_there_is_can_end_a_line_or_reach_the_terminal():
    shown = printable("".join(map(chr, range(sys.maxunicode + 1))), sys.maxsize)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


def test_a_long_text_is_cut_and_says_so():
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 197 + "..."
    assert printable("\n" * 1_000_000, 12) == "\\n\\n\\n\\n\\..."
    assert len(printable("\x1b" * 200)) == 200


def test_the_lines_of_a_traceback_stay_lines():
    assert printable_lines('  File "a.py"\n\x1b[31m\r\n') == '  File "a.py"\n\\x1b[31m\\r\n'
