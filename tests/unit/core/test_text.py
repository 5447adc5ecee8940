from __future__ import annotations

import sys

import pytest

from resilient_wsgi.core.text import one_line, printable, printable_lines, redacted


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://shop:S3CRET@db1/shop failed", "postgres://***@db1/shop failed"),
        ("https://token@git.example/x", "https://***@git.example/x"),
        ("with url: /p?token=S3CRET&x=1 (Caused by", "with url: /p?*** (Caused by"),
        ("https://h/p?a[0]=S3CRET'", "https://h/p?***'"),
        ("dsn host=db password=S3CRET user=shop", "dsn host=db password=*** user=shop"),
        ("dsn password='S3 CRET' user=shop", "dsn password=*** user=shop"),
        ("env = SECRET_KEY=S3CRET", "env = SECRET_KEY=***"),
        ("AWS_SECRET_ACCESS_KEY=S3CRET x", "AWS_SECRET_ACCESS_KEY=*** x"),
        ("DB_PASS = 'S3 CRET'", "DB_PASS = ***"),
        ("proxy_pass http://a; token == x", "proxy_pass http://a; token == x"),
        ("uwsgi_pass=127.0.0.1:3031", "uwsgi_pass=***"),
        ("Authorization: Bearer S3CRET", "Authorization: Bearer ***"),
        ('{"why": "password=S3CRET"}', '{"why": "password=***"}'),
        ("who? me", "who? me"),
        ("a=b mail to x@example.org", "a=b mail to x@example.org"),
        ("invalid token: 7", "invalid token: 7"),
        ("https://host/path@7", "https://host/path@7"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ValueError: one line - as it is", "ValueError: one line - as it is"),
        ("Error: 2 mistakes:\n  - first\n  - second\n", "Error: 2 mistakes: first; second"),
        (
            "could not connect\n\tIs the server running?\r\n",
            "could not connect; Is the server running?",
        ),
        ("", ""),
    ],
)
def test_a_message_of_several_lines_becomes_one_that_reads_as_such(text, line):
    assert one_line(text) == line
