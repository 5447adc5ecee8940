"""nginx's configuration is read as nginx reads it."""

import contextlib
import os
import time

import pytest

from resilient_wsgi.doctor import collect
from resilient_wsgi.doctor.read import nginx
from resilient_wsgi.doctor.read.lines import Lines
from resilient_wsgi.doctor.read.nginx_syntax import NotNginx, parse, seconds, size_bytes
from resilient_wsgi.doctor.subject import Subject

SAME_AS_CROSSPLANE = (
    "a \"x y\" 'z';",
    "a b{c d;}",
    "a;;",
    'a "b\nc" d;\ne f;',
    "log_format m '$a \"$b\"'\n'$c';",
    "a b#c; # d;\n# e;\n\nf g;",
    'a "b";# x\nc d;',
    "server { location ~ \\.php$ { return 200 ${x}y; } listen [::]:80; }",
    'map $x $y { default 1; "~^a\\"b{1,2}$" 2; }',
    "http { server { location / { include uwsgi_params; uwsgi_pass unix:///run/x.sock; } } }",
)


def read(text, **files):
    def open_files(path):
        return [Lines(path, files[path.strip("/")])] if path.strip("/") in files else []

    return nginx.parse(Lines("nginx.conf", text), open_files)


def tree(directive):
    return [
        (each.name, each.args, each.line, None if each.block is None else tree(each))
        for each in directive.children
    ]


@pytest.mark.parametrize("text", SAME_AS_CROSSPLANE)
def test_read_as_crossplane_reads_it(text, tmp_path):
    crossplane = pytest.importorskip("crossplane")

    def theirs(block):
        return [
            (
                each["directive"],
                each["args"],
                each["line"],
                theirs(each["block"]) if "block" in each else None,
            )
            for each in block
        ]

    (tmp_path / "x.conf").write_text(text)
    found = crossplane.parse(
        str(tmp_path / "x.conf"), single=True, check_ctx=False, check_args=False
    )
    if text == "a;;":  # crossplane makes a directive without a name of it
        assert tree(parse(Lines("x", text))) == [("a", [], 1, None)]
        return
    assert found["status"] == "ok"
    assert tree(parse(Lines("x", text))) == theirs(found["config"][0]["parsed"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a b", 1),
        ("a {\n b;\n", 3),
        ("}\n", 1),
        ('a "b;\n', 1),
        ("\n{}", 2),
        ("a b }", 1),
        ("a \\", 1),
    ],
)
def test_a_mistake_is_reported_with_its_line(text, line):
    with pytest.raises(NotNginx) as error:
        parse(Lines("x", text))
    assert error.value.line == line


@pytest.mark.parametrize(
    "lua",
    [
        'ngx.say("}")',
        "x = '\\'}'",
        "-- }\n",
        "--[[ }\n } ]]",
        "y = [[ } ]]",
        "if x then y = { } end",
    ],
)
def test_a_block_of_lua_ends_where_lua_ends_it(lua):
    config = read(f"content_by_lua_block {{\n {lua}\n}}\nlisten 80;")
    assert [each.name for each in config.root.children] == ["content_by_lua_block", "listen"]


@pytest.mark.parametrize("lua", ["[[", "--[[", '"\\', "'\\", '"', "{"])
def test_lua_that_does_not_end_is_read_once(lua):
    begun = time.process_time()
    with contextlib.suppress(NotNginx):
        read("content_by_lua_block {" + 50_000 * lua)
    assert time.process_time() - begun < 2


def test_lua_is_not_read():
    config = read("content_by_lua_block {\n if x then y = { } end\n}\nlisten 80;")
    assert [each.name for each in config.root.children] == ["content_by_lua_block", "listen"]


def test_a_template_is_not_read():
    with pytest.raises(NotNginx, match="a template"):
        read("server_name {{ host }};")


def test_the_innermost_value_holds():
    config = read(
        "http { uwsgi_read_timeout 5s; server { location /a { uwsgi_pass a; }"
        " location /b { uwsgi_read_timeout 1m; uwsgi_pass b; } } }"
    )
    assert [each.seconds("read_timeout", 60) for each in config.passes()] == [5, 60]
    assert [each.seconds("send_timeout", 60) for each in config.passes()] == [60, 60]


def test_lists_are_replaced_and_not_added_to():
    config = read("uwsgi_param A 1; server { uwsgi_param B 2; location / { uwsgi_pass x; } }")
    assert [each.args for each in config.passes()[0].all("param")] == [["B", "2"]]


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("127.0.0.1:3031", "127.0.0.1:3031"),
        ("unix:///run/x.sock", "unix:///run/x.sock"),
        ("http://unix:/run/x.sock:/y", "unix:/run/x.sock"),
        ("http://app/x", "app"),
        ("uwsgi://app", "app"),
    ],
)
def test_the_target_of_a_pass(address, target):
    assert read(f"location / {{ uwsgi_pass {address}; }}").passes()[0].target == target


def test_the_servers_of_an_upstream():
    config = read("upstream app { server a:1; server b:1 down; } location / { uwsgi_pass app; }")
    assert config.passes()[0].servers() == ["a:1"]


def test_includes_stand_where_they_are_named():
    config = read(
        "http { include conf.d/a.conf; server { listen 2; include /etc/b; } }",
        **{"conf.d/a.conf": "server { listen 1; include b; }", "etc/b": "gzip on;"},
    )
    assert [each.value for each in config.named("listen")] == ["1", "2"]
    assert config.included == ["conf.d/a.conf", "/etc/b"]
    assert config.missing == ["b"]
    (gzip,) = config.named("gzip")
    assert (gzip.location.file, gzip.location.line, gzip.location.text) == ("/etc/b", 1, "gzip on;")
    assert [each.name for each in gzip.ancestors()] == ["server", "http", ""]


def test_what_is_included_can_be_looked_up_from_the_blocks_around_it():
    config = read(
        "http { include a; include b; }", a="uwsgi_read_timeout 7;", b="server { uwsgi_pass x; }"
    )
    assert config.passes()[0].seconds("read_timeout", 60) == 7


def test_loops_of_includes_end():
    config = read("include a;", a="include nginx.conf; include a; include b;", b="include a; x y;")
    assert [each.name for each in config.root.walk()].count("x") == 1


def test_a_thousand_includes_at_most():
    files = {"x": "include y; include y; include y;", "y": "include z; include z; include z;",
             "z": "include w; " * 200, "w": "a b;"}  # fmt: skip
    config = read("include x; " * 50, **files)
    assert len(config.included) <= nginx.MOST_INCLUDES


def test_a_dump_of_all_files():
    config = nginx.parse(
        Lines(
            "nginx -T",
            "# configuration file /etc/nginx/nginx.conf:\nhttp {\n  include conf.d/*.conf;\n}\n\n"
            "# configuration file /etc/nginx/conf.d/a.conf:\n\nserver {\n listen 1; }\n",
        )
    )
    assert config.whole
    (listen,) = config.named("listen")
    assert listen.location.file == "/etc/nginx/conf.d/a.conf"


def test_a_snippet_is_not_whole():
    assert not read("server { listen 80; }").whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30),
        ("30s", 30),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1h 5m", 3900),
        ("$x", None),
        ("s", None),
    ],
)
def test_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("8k", 8192), ("1m", 1 << 20), ("12", 12), ("x", None)]
)
def test_sizes(text, expected):
    assert size_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"' * 100_000,
        "a{" * 100_000,
        "\\" * 100_000,
        "a " * 100_000,
        "$" * 100_000,
        "'\"" * 50_000,
        "}" * 9,
    ],
)
def test_hostile_text_takes_no_longer_than_its_length(text):
    begun = time.process_time()
    with contextlib.suppress(NotNginx):
        read(text)
    assert time.process_time() - begun < 2


def test_files_on_disk_are_included_once_and_a_fifo_is_not_waited_for(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "nginx.conf").write_text(
        "events {}\nhttp {\n  include mime.types;\n  include conf.d/*.conf;\n  include pipe;\n"
        "  include nginx.conf;\n  include /dev/zero;\n}\n"
    )
    (tmp_path / "conf.d/a.conf").write_text(
        "server {\n  location / {\n    proxy_buffering off;\n  }\n}\n"
    )
    os.mkfifo(tmp_path / "pipe")
    subject = Subject()
    collect.from_paths([str(tmp_path)], subject)
    (config,) = subject.nginx  # a.conf is a part of it
    assert config.whole
    assert [each.location.line for each in config.named("proxy_buffering")] == [3]
    assert config.included == [str(tmp_path / "conf.d/a.conf")]
    skipped = {os.path.basename(each.what) for each in subject.not_looked}
    assert skipped == {"pipe", "zero"}


@pytest.mark.parametrize("folder", ["a-available", "z-available"])
def test_a_site_that_is_enabled_by_a_link_is_looked_at_once(tmp_path, folder):
    for name in (folder, "sites-enabled"):
        (tmp_path / name).mkdir()
    (tmp_path / folder / "site").write_text("server {\n}\n")
    (tmp_path / "sites-enabled/site").symlink_to(f"../{folder}/site")
    (tmp_path / "nginx.conf").write_text("events {}\nhttp {\n  include sites-enabled/*;\n}\n")
    subject = Subject()
    collect.from_paths([str(tmp_path)], subject)
    (config,) = subject.nginx
    assert os.path.basename(config.file) == "nginx.conf"
