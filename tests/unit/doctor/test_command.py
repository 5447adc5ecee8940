"""`resilient-wsgi doctor`: exit codes, formats, what is selected, ignored, known and fixed."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest

from resilient_wsgi.cli import main
from resilient_wsgi.doctor import recognise
from resilient_wsgi.doctor.model import RULES
from resilient_wsgi.doctor.quoting import quoted
from resilient_wsgi.doctor.rules import load
from tools import rules_doc

WRONG = "[uwsgi]\nlazy-apps = false ; keep prefork\n"
WARNED = "[uwsgi]\nproces = 4\n"
FINE = "[uwsgi]\nlazy-apps = true\n"
CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  uwsgi.ini: |
    [uwsgi]
    harakiri = 30 ; s
"""
ONLY = ("--select", "U01,U04,U00")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(*arguments):
    """Return exit code, output and error output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["doctor", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("text", "more", "code"),
    [
        (FINE, (), 0),
        (WARNED, (), 0),
        (WARNED, ("--strict",), 1),
        (WRONG, (), 1),
        (WRONG, ("--format", "github"), 1),
        (WRONG, ("--ignore", "U01"), 0),
        (WRONG, ("--select", "U04"), 0),
    ],
)
def test_the_exit_code_says_whether_there_are_errors(folder, text, more, code):
    (folder / "uwsgi.ini").write_text(text)
    chosen = () if "--select" in more else ONLY
    assert doctor(*chosen, *more)[0] == code


def test_without_a_file_the_working_directory_is_searched_but_not_what_is_installed_in_it(folder):
    for place in ("deploy", "venv", ".git"):
        (folder / place).mkdir()
        (folder / place / "app.ini").write_text(WRONG)
    code, out, _ = doctor("--json", *ONLY)
    assert code == 1
    assert [each["file"] for each in json.loads(out)] == ["deploy/app.ini"]


def test_documents_and_large_files_that_were_not_named_are_left_alone(folder):
    (folder / "README.md").write_text(WRONG)
    (folder / "data.ini").write_text(WRONG + "#" * (1 << 20))
    assert doctor()[0] == 2
    assert doctor("data.ini", *ONLY)[0] == 1
    (folder / "code.py").write_text(f'"""{WRONG}"""')  # read as the source of an app
    assert doctor()[0] == 2


def test_an_ignore_in_a_string_of_python_is_none(folder):
    (folder / "app.py").write_text("import uwsgi\nX = '# doctor: ignore U01'\n")
    (folder / "uwsgi.ini").write_text(FINE)
    assert json.loads(doctor("--json", *ONLY)[1]) == []


def test_what_is_for_a_container_is_not_compared_with_this_machine(folder):
    (folder / "uwsgi.ini").write_text("[uwsgi]\nlisten = 2000000000\n")
    assert doctor("--select", "U45")[0] == 1
    (folder / "Dockerfile").write_text("FROM x\nCMD uwsgi --ini uwsgi.ini\n")
    code, out, _ = doctor("--select", "U45")
    assert code == 0
    assert "the files are for a container" in out


def test_a_rule_that_fails_is_reported_and_the_others_go_on(folder, monkeypatch):
    def broken(_subject):
        yield from ()
        raise ZeroDivisionError

    load()
    monkeypatch.setitem(RULES, "U04", RULES["U04"]._replace(check=broken))
    (folder / "uwsgi.ini").write_text(WRONG)
    code, out, _ = doctor(*ONLY)
    assert code == 1
    assert "rule U04: it failed (ZeroDivisionError())" in out


def test_a_folder_without_anything_to_look_at_is_code_2(folder):
    (folder / "notes.txt").write_text("nothing")
    code, out, err = doctor()
    assert (code, out) == (2, "")
    assert "no file that the doctor knows was found" in err


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b"[uwsgi]\nmaster = \0\n"), "not text"),
        (lambda path: path.write_text("hello"), "of no format that the doctor knows"),
        (lambda path: path.write_text("[uwsgi]\n" + "#" * (10 << 20)), "larger than 10 MB"),
        (os.mkfifo, "not a regular file"),
    ],
    ids=["missing", "binary", "unknown", "large", "fifo"],
)
def test_a_named_file_that_cannot_be_looked_at_is_code_2_and_the_others_are_looked_at(
    folder, make, why
):
    make(folder / "x")
    (folder / "uwsgi.ini").write_text(WRONG)
    code, out, _ = doctor("x", "uwsgi.ini", *ONLY)
    assert code == 2
    assert f"    x: {why}\n" in out
    assert "uwsgi.ini:2: error U01" in out


def test_an_unknown_code_is_refused(folder):
    (folder / "uwsgi.ini").write_text(FINE)
    code, _, err = doctor("--select", "X9")
    assert code == 2
    assert "no rule's code starts with 'X9'" in err


def test_json_has_the_fields_that_are_promised(folder):
    (folder / "uwsgi.ini").write_text(WRONG)
    _, out, _ = doctor("--json", *ONLY)
    (found,) = json.loads(out)
    assert set(found) == {"code", "severity", "file", "line", "message", "fix", "url"}
    assert (found["code"], found["severity"], found["file"], found["line"]) == (
        "U01",
        "error",
        "uwsgi.ini",
        2,
    )


def test_sarif_names_the_rule_the_place_and_the_level(folder):
    (folder / "uwsgi.ini").write_text(WRONG + "proces = 1\n")
    _, out, _ = doctor("--format", "sarif", *ONLY)
    log = json.loads(out)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[each["ruleIndex"]]["id"] for each in run["results"]] == ["U01", "U04"]
    assert [each["level"] for each in run["results"]] == ["error", "warning"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "uwsgi.ini", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 2},
    }


def test_annotations_of_github_are_one_line_each(folder):
    (folder / "a,b.ini").write_text(WRONG)
    _, out, _ = doctor("--format", "github", *ONLY)
    (line,) = out.splitlines()
    assert line.startswith("::error file=a%2Cb.ini,line=2,title=U01::")
    assert "%0AFix: " in line


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("; doctor: ignore U01 -- it is meant to be on", set()),
        ("# doctor: ignore U01, U04 -- why", {"U00"}),
        ("; doctor: ignore U01", {"U00"}),
        ("; doctor: ignore U04 -- why", {"U00", "U01"}),
        ("; doctor: ignore U99999 -- why", {"U00", "U01"}),
        ("; doctor: ignored", {"U01"}),
    ],
)
def test_a_comment_with_a_reason_ignores_what_is_below_it(folder, comment, found):
    (folder / "uwsgi.ini").write_text(
        f"[uwsgi]\n{comment}\n; and another comment\n\nlazy-apps = no # x\n"
    )
    _, out, _ = doctor("--json", *ONLY)
    assert {each["code"] for each in json.loads(out)} == found


def test_a_comment_ignores_nothing_further_down(folder):
    (folder / "uwsgi.ini").write_text(
        "[uwsgi]\n; doctor: ignore U01 -- why\nlazy-apps = no # x\nneed-app = no # x\n"
    )
    _, out, _ = doctor("--json", *ONLY)
    assert [(each["code"], each["line"]) for each in json.loads(out)] == [("U01", 4)]


def test_an_ignore_of_a_rule_that_did_not_run_is_not_called_unused(folder):
    (folder / "uwsgi.ini").write_text("[uwsgi]\n; doctor: ignore U45 -- why\nlisten = 10\n")
    assert json.loads(doctor("--json", *ONLY)[1]) == []


def test_a_baseline_hides_what_was_there_and_not_what_is_new(folder):
    path = folder / "uwsgi.ini"
    path.write_text(WRONG)
    assert doctor(*ONLY, "--write-baseline", "known.json")[0] == 1
    path.write_text("[uwsgi]\n; moved down\nlazy-apps = false ;  keep prefork\nneed-app = no ;\n")
    code, out, _ = doctor(*ONLY, "--baseline", "known.json", "--json")
    assert code == 1
    assert [each["line"] for each in json.loads(out)] == [4]
    path.write_text("[uwsgi]\n" + 2 * "lazy-apps = false ; keep prefork\n")
    assert [
        each["line"] for each in json.loads(doctor(*ONLY, "--baseline", "known.json", "--json")[1])
    ] == [3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2}',
        '{"version": 1, "findings": [1]}',
        '{"version": 1, "findings": [{"file": "", "code": "", "text": "", "count": 1e999}]}',
    ],
)
def test_what_is_no_baseline_is_code_2(folder, text):
    (folder / "uwsgi.ini").write_text(FINE)
    (folder / "known.json").write_text(text)
    code, _, err = doctor("--baseline", "known.json")
    assert code == 2
    assert "not a baseline" in err


def test_fix_changes_the_lines_it_must_and_keeps_the_rest(folder):
    path = folder / "uwsgi.ini"
    before = "; mine\r\n[uwsgi]\r\n  harakiri = 30 ; s\r\n\r\nzz\xe9 = 1\r\n".encode("latin-1")
    only = ("--select", "U02")
    path.write_bytes(before)
    path.chmod(0o640)
    code, out, _ = doctor("--diff", *only)
    assert code == 0
    assert "+harakiri = 30" in out
    assert path.read_bytes() == before
    assert doctor("--fix", *only)[0] == 0
    assert path.read_bytes() == before.replace(
        b"  harakiri = 30 ; s\r\n", b"; s\r\nharakiri = 30\r\n"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(folder.iterdir()) == [path]
    assert doctor("--json", *only)[1] == "[]\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_fix_leaves_a_file_to_its_owner(folder):
    path = folder / "uwsgi.ini"
    path.write_text("[uwsgi]\nharakiri = 30 ; s\n")
    path.chmod(0o640)
    os.chown(path, 65534, 65533)
    assert doctor("--fix", "--select", "U02")[0] == 0
    now = path.stat()
    assert (now.st_uid, now.st_gid, now.st_mode & 0o777) == (65534, 65533, 0o640)


def test_fix_of_a_file_within_a_manifest_is_left_to_the_reader(folder):
    pytest.importorskip("yaml")
    manifest = folder / "web.yaml"
    manifest.write_text(CONFIG_MAP)
    code, out, err = doctor("--fix", "--select", "U02")
    assert (code, out.strip(), manifest.read_text()) == (0, "", CONFIG_MAP)
    assert "web.yaml#uwsgi.ini is a part of another file" in err


def test_fix_of_what_cannot_be_looked_at_says_so(folder):
    assert doctor("--fix", "missing.ini")[0] == 2


def test_fix_does_not_turn_off_what_was_on_so_far(folder):
    (folder / "uwsgi.ini").write_text("[uwsgi]\nenable-threads = false ; no\n")
    assert doctor("--fix", *ONLY)[0] == 0
    assert (folder / "uwsgi.ini").read_text() == "[uwsgi]\nenable-threads = false ; no\n"
    assert doctor(*ONLY)[0] == 1


def test_a_name_of_any_bytes_is_an_address_in_sarif(folder):
    with open(os.fsencode(folder) + b"/x\xff.ini", "w", encoding="utf-8") as file:
        file.write(WARNED)
    code, out, _ = doctor("--format", "sarif", *ONLY)
    (result,) = json.loads(out)["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert (code, location["uri"]) == (0, "x%FF.ini")


@pytest.mark.parametrize(
    ("name", "kind"), [("Dockerfile", "image"), ("entrypoint", None), ("start.sh", None)]
)
def test_a_heredoc_is_not_the_file_that_it_writes(name, kind):
    head = "FROM x\nRUN cat > u.ini" if kind else "#!/bin/sh\ncat > u.ini"
    assert recognise.kind_of(name, f"{head} <<EOF\n[uwsgi]\nzz = 1\nEOF\n") == kind


def test_explain_prints_the_page_and_an_unknown_code_is_refused():
    code, out, _ = doctor("--explain", "u01")
    assert code == 0
    assert out == rules_doc.pages()["U01.md"]
    assert doctor("--explain", "U12345")[0] == 2


def test_the_pages_of_the_rules_are_current():
    pytest.importorskip("yaml")  # the findings of manifests are on them
    assert rules_doc.current() == rules_doc.pages(), "run make rules-doc"


def test_a_secret_in_a_quoted_line_is_not_printed(folder):
    (folder / "uwsgi.ini").write_text("[uwsgi]\nneed-app = no password=hunter2\n")
    for more in ((), ("--json",), ("--format", "sarif"), ("--format", "github"), ("--diff",)):
        assert "hunter2" not in doctor(*ONLY, *more)[1]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  DB_PASSWORD: hunter2", "  DB_PASSWORD: ***"),
        ('{"uwsgi": {"db_pass": "hunter2"}}', '{"uwsgi": {"db_pass": ***}}'),
        ("- {name: SECRET_KEY, value: hunter2}", "- {name: SECRET_KEY, value: ***}"),
        ("ENV DB_PASSWORD hunter2", "ENV DB_PASSWORD ***"),
        ("ENV DB_PASSWORD=hunter2 A=1", "ENV DB_PASSWORD=*** A=1"),
        ("env UWSGI_PROCESSES 4", "env UWSGI_PROCESSES 4"),
        ("gunicorn a:b -e PRIVATE_KEY=hunter2 -w 4", "gunicorn a:b -e PRIVATE_KEY=*** -w 4"),
        ("secretName: tls", "secretName: tls"),
        ("keys_zone=c:10m", "keys_zone=c:10m"),
        ("proxy_pass http://app:80;", "proxy_pass http://app:80;"),
    ],
)
def test_a_line_is_quoted_without_what_its_names_call_a_secret(line, shown):
    assert quoted(line) == shown


def test_a_baseline_holds_no_secret_and_still_knows_its_findings(folder):
    (folder / "uwsgi.ini").write_text("[uwsgi]\nenvv = SECRET_KEY=hunter2\n")
    doctor("--write-baseline", "known.json", *ONLY)
    assert "hunter2" not in (folder / "known.json").read_text()
    assert doctor("--json", "--baseline", "known.json", *ONLY)[1] == "[]\n"


def test_fix_takes_comments_from_behind_numbers_and_mends_a_mode(folder):
    (folder / "uwsgi.ini").write_text(
        "[uwsgi]\nharakiri = 30  ; seconds\nreload-on-rss = 512MB\nsocket = /run/x\n"
        "chmod-socket = 0660\nmax-requests = 10 \\\n5\nprocesses = 2m\n"
    )
    assert doctor("--fix", "--select", "U02,U88")[0] == 0
    assert (folder / "uwsgi.ini").read_text() == (
        "[uwsgi]\n; seconds\nharakiri = 30\nreload-on-rss = 512\nsocket = /run/x\n"
        "chmod-socket = 660\nmax-requests = 10 \\\n5\nprocesses = 2m\n"
    )
