"""What is logged at startup of the options that uWSGI was started with."""

from __future__ import annotations

from resilient_wsgi.doctor import running

BAD = {"module": "app", "socket": "/run/app.sock", "master": "true", "processes": "4"}
GOOD = {
    **BAD,
    "need-app": "true",
    "single-interpreter": "true",
    "die-on-term": "true",
    "py-call-uwsgi-fork-hooks": "true",
}
VERSIONS = {"python": "3.13.1", "uwsgi": "2.0.31"}


def codes(options):
    return [each.code for each in running.findings(options, VERSIONS)]


def test_errors_and_warnings_are_found_with_the_versions_that_run():
    assert codes(GOOD) == []
    assert codes({**GOOD, "py-call-osafterfork": "true"}) == ["U30"]
    assert "U08" in codes(BAD)


def test_what_is_logged_at_startup_anyway_is_left_out():
    assert not {"U18", "U44"} & set(codes(BAD))


def test_what_the_file_ignores_is_left_out(tmp_path):
    file = tmp_path / "uwsgi.ini"
    file.write_text("[uwsgi]\n; doctor: ignore U08 -- a supervisor looks\nmodule = app\n")
    assert "U08" not in codes({**BAD, "ini": str(file)})
    assert "U10" in codes({**BAD, "ini": str(file)})


def test_a_relative_file_is_looked_for_where_uwsgi_was_started(tmp_path, monkeypatch):
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\n; doctor: ignore U08 -- why\nmodule = app\n")
    monkeypatch.setenv("PWD", str(tmp_path))
    assert "U08" not in codes({**BAD, "ini": "uwsgi.ini"})
    monkeypatch.setenv("PWD", "/nowhere")
    assert "U08" in codes({**BAD, "ini": "uwsgi.ini"})


def test_a_line_counts_them_and_says_what_to_run():
    found = running.findings({**GOOD, "die-on-term": "false", "max-requests": "x"}, VERSIONS)
    text = running.line(found, "/etc/app.ini")
    assert text.startswith(
        "[RW007] uWSGI's configuration has 2 warnings: U02 max-requests = x is 0"
    )
    assert text.endswith("Fix: resilient-wsgi doctor /etc/app.ini")
    assert running.line([], "/etc/app.ini") == ""


def test_an_error_is_counted_by_itself():
    found = running.findings({**GOOD, "processes": "4", "cheaper": "4"}, VERSIONS)
    assert "has 1 error: U47" in running.line(found, "")
    assert running.line(found, "").endswith("Fix: resilient-wsgi doctor --pid PID")
