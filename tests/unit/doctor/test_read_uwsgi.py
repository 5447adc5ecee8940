"""uWSGI's configuration is read as uWSGI reads it; `make soak doctor.parser` compares the two."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from resilient_wsgi.doctor.collect import from_paths, from_texts
from resilient_wsgi.doctor.model import Location
from resilient_wsgi.doctor.read import uwsgi_export
from resilient_wsgi.doctor.read.command import command
from resilient_wsgi.doctor.read.runner import INSTANCE, Runner
from resilient_wsgi.doctor.read.uwsgi_command import options
from resilient_wsgi.doctor.read.uwsgi_options import shipped
from resilient_wsgi.doctor.read.uwsgi_placeholders import Host
from resilient_wsgi.doctor.subject import Source, Subject
from resilient_wsgi.doctor.uwsgi_config import is_true, leading_number


def config(text, *, host=None, **files):
    """Return the configuration of uwsgi.ini with this text, in /etc/app."""
    names = {f"/etc/app/{name.replace('_', '.')}": content for name, content in files.items()}

    def open_file(path, within):
        full = os.path.join("/etc/app", path) if path else within
        if full == "/etc/app/uwsgi.ini":
            return Source(full, text)
        return Source(full, names[full]) if full in names else None

    return uwsgi_export.read(Source("/etc/app/uwsgi.ini", text), open_file, host=host or Host())


def pairs(text, **more):
    return [(each.name, each.value) for each in config(f"[uwsgi]\n{text}", **more).options]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1 ; b\n;c = 2\n  # d = 3\n", [("a", "1 ; b")]),
        ("a=b=c\n", [("a", "b=c")]),
        ("  a   =   b c  \r\n", [("a", "b c")]),
        ("master\n", [("master", "")]),
        ("a = 1\na = 2", [("a", "1"), ("a", "2")]),
        ("[other]\nb = 2\n[uwsgi]\nc = 3", [("c", "3")]),
        ("[uwsgi] ; x\nb = 2\n", []),
        (
            "a = %d|%p|%s|%n|%e|%c|%0",
            [("a", "/etc/app/|/etc/app/uwsgi.ini|uwsgi.ini|uwsgi|ini|app|etc")],
        ),
        ("a = 100%%|%z|%(", [("a", "100%||%(")]),
        ("a = b%\nc = d\n", [("a", "bc = d")]),
        ("a = x\nb = %(a)/y\n", [("a", "x"), ("b", "x/y")]),
        ("b = %(a)\na = %(c)\nc = 1\n", [("b", "%(c)"), ("a", "1"), ("c", "1")]),
        ("a = 2\nb = %(a + 3)|%(a a * 2)|%(a / 0)|%(a ++)", [("a", "2"), ("b", "5|44|0|3")]),
        ("a = %(nothing)\n", [("a", "%(nothing)")]),
        ("a = 1\na = 2\nb = %(a)", [("a", "1"), ("a", "2"), ("b", "1")]),
        ("listen = %(a)\na = 9\n", [("listen", "%(a)"), ("a", "9")]),
        ("set-placeholder = a=1\nb = %(a)", [("set-placeholder", "a=1"), ("a", "1"), ("b", "1")]),
        ("set = processes=3", [("set", "processes=3"), ("processes", "3")]),
        (
            "for = a b\nx = %(_)\nendfor =\n",
            [("for", "a b"), ("x", "a"), ("x", "b"), ("endfor", "")],
        ),
        (
            "for-times = 2\nx = %(_)\nend-for =\n",
            [("for-times", "2"), ("x", "1"), ("x", "2"), ("end-for", "")],
        ),
        ("if-opt = a\nx = 1\nendif =\n", [("if-opt", "a"), ("endif", "")]),
        (
            "a = 7\nif-opt = a=7\nx = %(_)\nend =\n",
            [("a", "7"), ("if-opt", "a=7"), ("x", "7"), ("end", "")],
        ),
        ("if-not-opt = a\nx = 1\nendif =\n", [("if-not-opt", "a"), ("x", "1"), ("endif", "")]),
        ("if-reload =\nx = 1\nendif =\n", [("if-reload", ""), ("endif", "")]),
    ],
)
def test_lines_placeholders_and_logic(text, expected):
    assert pairs(text) == expected


def test_what_depends_on_the_host_is_marked_and_known_where_the_host_is_known():
    text = "[uwsgi]\na = $(HOME)\nb = @(/etc/x)\nc = %k\nif-env = CI\nprocesses = 2\nendif =\n"
    unknown = config(text)
    assert [each.resolved for each in unknown.options[:3]] == [False, False, False]
    assert not unknown.all("processes")[0].certain
    assert unknown.number("processes") is None
    assert not unknown.lacks("processes")
    host = Host({"HOME": "/root", "CI": "1"}, {"k": "8"}, lambda path: f"<{path}>")
    known = config(text, host=host)
    assert [each.value for each in known.options[:3]] == ["/root", "</etc/x>", "8"]
    assert known.number("processes") == 2


def test_includes_stand_in_their_place_and_inherited_options_at_the_end():
    found = pairs(
        "a = 1\nini = base.ini\ninherit = last.ini\nb = %(c)\n",
        base_ini="[uwsgi]\nc = %n\nini = :more\n[more]\nd = %s\n",
        last_ini="[uwsgi]\ne = %(c)\n",
    )
    assert found == [
        *(("a", "1"), ("ini", "base.ini"), ("c", "base"), ("ini", ":more"), ("d", "base.ini")),
        *(("inherit", "last.ini"), ("b", "base"), ("e", "%(c)")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ini = missing.ini",
        "ini = uwsgi.ini",
        "ini = $(X).ini",
        "include = https://example.com/x.ini",
        "for-times = 99999999\nx = 1\n",
    ],
    ids=["missing", "loop", "unresolved", "url", "many"],
)
def test_what_cannot_be_followed_makes_nothing_missing(text):
    found = config(f"[uwsgi]\n{text}")
    assert not found.complete
    assert not found.lacks("master")
    assert not found.off("master")
    assert found.number("processes", 1) is None


def test_a_thousand_includes_are_followed_and_no_more(tmp_path):
    for number in range(1200):
        (tmp_path / f"{number}.ini").write_text(f"[uwsgi]\nx = {number}\nini = {number + 1}.ini\n")
    subject = Subject()
    from_paths([str(tmp_path / "0.ini")], subject)
    (found,) = subject.uwsgi
    assert not found.complete
    assert len(found.all("x")) == uwsgi_export.MOST_FILES + 1


def test_a_placeholder_of_itself_ends():
    (found,) = config("[uwsgi]\nx = a%(x)\n").options
    assert not found.resolved


@pytest.mark.parametrize("text", ["true", "1", "yes", "", "maybe", "false ;", "00", "no."])
def test_true_is_whatever_is_not_false(text):
    assert is_true(text)


@pytest.mark.parametrize("text", ["false", "FALSE", "off", "no", "0"])
def test_false_is_one_of_four_words(text):
    assert not is_true(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("60s", 60), ("sixty", 0), ("", 0), (" 7", 7), ("-1", -1), ("0x10", 0), ("1.5", 1)],
)
def test_numbers_are_what_atoi_makes_of_them(text, number):
    assert leading_number(text) == number


def test_the_table_knows_aliases_kinds_and_what_options_turn_on():
    table = shipped()
    assert table.canonical("workers") == "processes"
    assert table.canonical("wsgi") == "module"
    assert table.get("listen").flags == {"immediate"}
    assert {"master", "log_master"} <= table.get("log-syslog").flags
    assert table.get("lazy-apps").is_boolean
    assert table.get("reload-on-rss").is_number
    assert "proceses" not in table


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("proceses", "processes"),
        ("process", "processes"),
        ("thread", "threads"),
        ("chmod-sockert", "chmod-socket"),
        ("buffer_size", "buffer-size"),
        ("py-callos-afterfork", "py-call-osafterfork"),
        ("log-slower", "log-slow"),
        ("name", ""),
        ("application", ""),
        ("x" * 1000, ""),
    ],
)
def test_the_option_that_was_probably_meant_is_named(name, meant):
    assert shipped().nearest(name) == meant


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--ini x.ini -p 4", [("ini", "x.ini"), ("processes", "4")]),
        ("-Mp4 --threads=2", [("master", ""), ("processes", "4"), ("threads", "2")]),
        ("x.ini --master", [("include", "x.ini"), ("master", "")]),
        ("--http :80 app.py", [("http", ":80")]),
        ("--proce 4", [("processes", "4")]),
        ("--nonsense --master", [("nonsense", ""), ("master", "")]),
        ("-s", [("socket", "")]),
        ("-- x.ini", []),
        ("", []),
    ],
)
def test_command_lines(words, expected):
    assert list(options(words.split())) == expected


def test_the_command_line_and_the_environment_are_put_together_with_the_file():
    subject = from_texts(
        {
            "conf/uwsgi.ini": "[uwsgi]\nmodule = app\nprocesses = 2\n",
            "Dockerfile": "FROM x\nENV UWSGI_THREADS=3\nCMD uwsgi --ini /srv/uwsgi.ini --processes 8\n",
        }
    )
    (found,) = subject.uwsgi
    assert found.location == ("conf/uwsgi.ini", 1, "[uwsgi]")
    assert found.number("processes") == 8
    assert found.last("processes").location.file == "Dockerfile"
    assert found.number("threads") == 3
    assert found.complete


def test_a_command_that_only_names_the_file_adds_nothing():
    subject = from_texts(
        {"uwsgi.ini": "[uwsgi]\nmodule = app\n", "Procfile": "web: uwsgi uwsgi.ini\n"}
    )
    (found,) = subject.uwsgi
    assert found.command is None


def test_a_command_without_a_file_is_a_configuration():
    subject = from_texts({"Procfile": "web: uwsgi --http :8000 --module app\n"})
    (found,) = subject.uwsgi
    assert found.location.file == "Procfile"
    assert [each.protocol for each in found.sockets()] == ["http"]


def test_a_command_whose_file_is_not_there_is_not_complete():
    (found,) = from_texts({"Procfile": "web: uwsgi --ini other.ini -p 4\n"}).uwsgi
    assert not found.complete


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xml", "<uwsgi>\n<master/>\n<workers>4</workers>\n<http>:80</http>\n</uwsgi>"),
        ("a.yml", "uwsgi:\n  master: true # x\n  workers: 4\n  http:\n    - :80\nother: 1\n"),
        ("a.json", '{"uwsgi": {\n"master": true,\n"workers": 4,\n"http": [":80"]}}'),
    ],
)
def test_xml_yaml_and_json_are_the_same_with_their_lines(name, text):
    (found,) = from_texts({name: text}).uwsgi
    assert found.on("master")
    assert found.number("processes") == 4
    assert [each.address for each in found.sockets()] == [":80"]
    assert found.last("processes").location.line == 3
    assert found.last("processes").location.text.strip() in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xml", '<!DOCTYPE x [<!ENTITY a "b">]><uwsgi><master>&a;</master></uwsgi>'),
        ("a.xml", "<uwsgi><master>"),
        ("a.xml", "<a>" * 5000),
        ("a.json", '{"uwsgi": ' + "[" * 100000),
        ("a.json", "uwsgi"),
        ("a.yml", "services:\n  uwsgi:\n    image: x\n"),
        ("a.yml", "uwsgi:\n  image: x\n  build: y\n"),
    ],
)
def test_what_is_no_configuration_of_uwsgi_is_not_taken_for_one(name, text):
    assert from_texts({name: text}).uwsgi == []


def test_a_quoted_value_in_yaml_counts_as_unknown():
    (found,) = from_texts({"a.yml": 'uwsgi:\n  master: "false"\n'}).uwsgi
    assert not found.on("master")
    assert not found.off("master")


def test_an_ini_file_in_a_config_map_is_read_at_its_lines_there():
    pytest.importorskip("yaml")
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  uwsgi.ini: |\n    [uwsgi]\n    proceses = 4\n"
    )
    (found,) = from_texts({"m.yaml": manifest}).uwsgi
    assert found.options[0].location.line == 6


@pytest.mark.parametrize(
    "value",
    ["{{ workers }}", "${WORKERS}", "__WORKERS__", "<%= workers %>", "@WORKERS@", "<number>"],
)
def test_a_value_that_a_template_fills_in_is_not_known(value):
    found = config(f"[uwsgi]\nprocesses = {value}\nmaster = {value}\n")
    assert found.number("processes") is None
    assert not found.on("master")
    assert not found.off("master")


def test_of_a_running_instance_the_environment_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nprocesses = $(WORKERS)\nthreads = $(NONE)\n")
    runner = Runner(INSTANCE, "x", Location(""))
    runner.commands = command(["uwsgi", "--ini", "uwsgi.ini"], Location(""))
    runner.environment = {"WORKERS": "6"}
    subject = Subject()
    subject.live = SimpleNamespace(runner=runner)
    from_paths(["uwsgi.ini"], subject)
    (found,) = subject.uwsgi
    assert found.number("processes") == 6
    assert found.number("threads") == 0  # as uWSGI reads "$(NONE)"


@pytest.mark.parametrize(
    ("image", "complete"),
    [
        ("FROM tiangolo/uwsgi-nginx:python3.9\n", False),
        ("FROM tiangolo/uwsgi-nginx-flask\nCMD supervisord\n", False),
        ("FROM x/uwsgi\nCMD uwsgi --ini uwsgi.ini --master\n", True),
        ("FROM python:3.12\nCMD supervisord\n", True),
        ("FROM uwsgi-builders/python AS build\nFROM python\n", True),
    ],
)
def test_an_image_that_runs_uwsgi_itself_adds_options_that_are_not_here(image, complete):
    (found,) = from_texts({"uwsgi.ini": "[uwsgi]\nmodule = app\n", "Dockerfile": image}).uwsgi
    assert found.complete is complete
