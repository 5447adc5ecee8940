"""What the doctor calls an error between two files fails on real servers; what it calls good works.

Each case is looked at by the doctor as it is run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from lab.processes import Nginx, Server, ToolMissing, wait_until
from lab.processes.base import find_tool
from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.host import procfs

pytestmark = pytest.mark.servers

APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr([environ.get("REQUEST_METHOD"), environ.get("PATH_INFO")]).encode()]
"""


def codes(**files):
    """Return the codes of the errors that the doctor finds in these texts."""
    named = {name.replace("_", "."): text for name, text in files.items()}
    return {each.code for each in examine(from_texts(named))}


def text_of(server, name="uwsgi.ini"):
    return (server.directory / name).read_text()


@pytest.fixture
def app(tmp_path):
    (tmp_path / "between.py").write_text(APP)

    @contextmanager
    def start(listen_on="uwsgi", **options):
        common = {"module": "between", "pythonpath": str(tmp_path), "master": True}
        named = {name.replace("_", "-"): value for name, value in options.items()}
        with Server({**common, **named}, listen_on=listen_on) as server:
            yield server

    return start


@contextmanager
def nginx(upstream, **more):
    try:
        with Nginx([upstream], **more) as server:
            yield server
    except ToolMissing as missing:
        pytest.skip(str(missing))


def status(port, headers=()):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def body(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=10) as response:
        return response.read().decode()


def test_n04_the_wrong_protocol_is_502(app):
    with app("http") as server, nginx(server.address) as proxy:
        assert "N04" in codes(uwsgi_ini=text_of(server), nginx_conf=text_of(proxy, "nginx.conf"))
        assert status(proxy.port) == 502
    with app("uwsgi") as server, nginx(server.address) as proxy:
        assert "N04" not in codes(
            uwsgi_ini=text_of(server), nginx_conf=text_of(proxy, "nginx.conf")
        )
        assert status(proxy.port) == 200


class WithoutParameters(Nginx):
    """nginx whose one uwsgi_param replaces those around it."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self._parameters = {"HTTP_X_A": "b"}


def test_n05_without_parameters_the_app_sees_neither_method_nor_path(app):
    with app("uwsgi") as server:
        with nginx(server.address) as proxy:
            assert "N05" not in codes(nginx_conf=text_of(proxy, "nginx.conf"))
            assert body(proxy.port) == "['GET', '/page']"
        try:
            with WithoutParameters([server.address]) as proxy:
                assert "N05" in codes(nginx_conf=text_of(proxy, "nginx.conf"))
                assert "/page" not in body(proxy.port)
        except ToolMissing as missing:
            pytest.skip(str(missing))


def test_u49_headers_that_nginx_lets_through_are_502(app):
    cookie = {"Cookie": "a=" + "b" * 5000}
    with app("uwsgi") as server, nginx(server.address) as proxy:
        assert "U49" in codes(uwsgi_ini=text_of(server), nginx_conf=text_of(proxy, "nginx.conf"))
        assert status(proxy.port) == 200
        assert status(proxy.port, cookie) == 502
    with app("uwsgi", buffer_size=32768) as server, nginx(server.address) as proxy:
        assert status(proxy.port, cookie) == 200


@pytest.mark.parametrize(
    ("die_on_term", "signal_name", "found"),
    [(True, "SIGQUIT", True), (True, "SIGTERM", False), (False, "SIGQUIT", False), (False, "SIGTERM", True)],
)  # fmt: skip
def test_s04_the_signal_of_the_unit_reloads_or_stops(app, die_on_term, signal_name, found):
    unit = f"[Service]\nExecStart=/bin/uwsgi --ini uwsgi.ini\nKillSignal={signal_name}\n"
    with app("http", die_on_term=die_on_term) as server:
        assert ("S04" in codes(uwsgi_ini=text_of(server), x_service=unit)) is found
        assert wait_until(server.heeds_signals, 10)
        os.kill(server.pid, signal.Signals[signal_name])
        reloads = "binary reloading uWSGI"
        assert wait_until(lambda: not server.alive() or reloads in server.log(), 20)
        assert (reloads in server.log()) is found


def test_s01_uwsgi_does_not_start_with_a_listen_above_the_somaxconn_of_its_namespace(tmp_path):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    ini = "[uwsgi]\nmaster = true\nsocket = 127.0.0.1:0\nlisten = 1024\n"
    (tmp_path / "uwsgi.ini").write_text(ini)
    compose = (
        "services:\n  web:\n    command: uwsgi --ini uwsgi.ini\n"
        "    sysctls: {net.core.somaxconn: 512}\n"
    )
    assert "S01" in codes(uwsgi_ini=ini, compose_yml=compose)
    inside = (
        "echo 512 > /proc/sys/net/core/somaxconn && ip link set lo up 2>/dev/null; "
        f"exec {find_tool('uwsgi')} --ini {tmp_path}/uwsgi.ini"
    )
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(r"Listen queue size is greater than the system max .*\(512\)", done.stderr)


@pytest.mark.parametrize(("line", "stays"), [("true && sleep 30", True), ("exec sleep 30", False)])
def test_s22_the_shell_of_debian_stays_in_front_of_the_server(line, stays):
    if os.path.basename(os.path.realpath("/bin/sh")) != "dash":
        pytest.skip("/bin/sh is not dash")
    with subprocess.Popen(["/bin/sh", "-c", line], start_new_session=True) as shell:
        try:
            family = lambda: [shell.pid, *procfs.children(shell.pid)]  # noqa: E731
            runs = lambda: "sleep" in [procfs.name(pid) for pid in family()]  # noqa: E731
            assert wait_until(runs, 5)
            assert (procfs.name(shell.pid) == "sh") is stays
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
