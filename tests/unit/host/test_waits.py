"""What a thread of this process waits for, by its system call."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from resilient_wsgi.host import waits, waits_calls, waits_sockets

from .waiting import Waiter, closing, full_listener, silent

pytestmark = pytest.mark.skipif(bool(waits.why_not()), reason=waits.why_not())

HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
ALIASES = {"newfstatat": ("3264_fstatat",), "sendfile": ("3264_sendfile",)}


@pytest.mark.parametrize("machine", sorted(HEADERS))
def test_the_numbers_of_the_system_calls_are_those_of_the_kernel(machine):
    try:
        with open(HEADERS[machine]) as file:
            text = file.read()
    except OSError:
        pytest.skip(f"{HEADERS[machine]} not found")
    numbers = dict(re.findall(r"#define __NR3?2?6?4?_?(\w+)\s+(\d+)", text))
    numbers.update(re.findall(r"#define __NR_(\w+)\s+(\d+)", text))
    numbers.update(re.findall(r"#define __NR3264_(\w+)\s+(\d+)", text))
    numbers["newfstatat"] = numbers.get("newfstatat", numbers.get("fstatat", ""))
    table = waits_calls.TABLES[machine]
    known = {name: number for name, number in table.items() if name in numbers}
    assert len(known) > 0.9 * len(table)
    assert known == {name: int(numbers[name]) for name in known}
    assert waits_calls.FSTAT[machine] == int(numbers["fstat"])


@pytest.fixture
def server():
    with closing(silent()) as (listener,):
        yield listener


@pytest.fixture
def connection(server):
    with closing(socket.create_connection(server.getsockname())) as (sock,):
        yield sock
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def name_of(server):
    host, port = server.getsockname()
    return f"{host}:{port}"


def poll(sock):
    each = select.poll()
    each.register(sock, select.POLLIN)
    return each.poll(5000)


def epoll(sock):
    with select.epoll() as each:
        each.register(sock, select.EPOLLIN)
        return each.poll(5)


READS = {
    "recvfrom": lambda sock: sock.recv(1),
    "recvmsg": lambda sock: sock.recvmsg(1),
    "read": lambda sock: os.read(sock.fileno(), 1),
    "readv": lambda sock: os.readv(sock.fileno(), [bytearray(1)]),
    "poll": poll,
    "pselect6": lambda sock: select.select([sock], [], [], 5),
    "epoll_wait": epoll,
}
WRITES = {
    "sendto": lambda sock: sock.sendall(bytes(50_000_000)),
    "sendmsg": lambda sock: [sock.sendmsg([bytes(1_000_000)]) for _ in range(50)],
    "write": lambda sock: [os.write(sock.fileno(), bytes(1_000_000)) for _ in range(50)],
    "writev": lambda sock: [os.writev(sock.fileno(), [bytes(1_000_000)]) for _ in range(50)],
}


@pytest.mark.parametrize("call", [*READS, *WRITES])
def test_the_socket_of_a_wait_is_named(server, connection, call):
    waiter = Waiter(lambda: {**READS, **WRITES}[call](connection))
    names = {"pselect6": ("pselect6", "select"), "epoll_wait": waits_calls.EPOLLS}.get(
        call, (call,)
    )
    wait = waiter.wait(*(*names, *(("ppoll",) if call == "poll" else ())))
    assert (wait.kind, wait.peer, wait.fd) == (waits.SOCKET, name_of(server), connection.fileno())
    assert wait.inode == os.fstat(connection.fileno()).st_ino
    assert str(wait) == name_of(server)
    assert not wait.connecting
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


def test_sendfile_waits_for_the_socket_that_it_writes_to(server, connection, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(20_000_000))
    with open(path, "rb") as file:
        waiter = Waiter(lambda: os.sendfile(connection.fileno(), file.fileno(), 0, 20_000_000))
        wait = waiter.wait("sendfile")
        assert wait.peer == name_of(server)
        connection.shutdown(socket.SHUT_RDWR)
        waiter.join()


@pytest.mark.parametrize("timeout", [None, 5])
def test_a_connect_names_where_it_connects_to(timeout):
    with full_listener() as listener:
        waiter = Waiter(lambda: socket.create_connection(listener.getsockname(), timeout))
        wait = waiter.blocks()
        assert wait.connecting
        assert str(wait) == f"connection to {name_of(listener)}"
    waiter.join()


def test_a_socket_and_what_only_this_process_can_wake_are_one_wait(connection, server):
    left, right = socket.socketpair()
    read_end, write_end = os.pipe()
    with closing(left, right):
        waiter = Waiter(lambda: select.select([connection, left, read_end], [], [], 5))
        wait = waiter.blocks()
        assert (wait.peer, wait.others) == (name_of(server), 2)
        right.send(b"x")
        waiter.join()
    os.close(read_end)
    os.close(write_end)


def test_several_sockets_are_named_and_are_no_single_wait(server, connection):
    with closing(socket.create_connection(server.getsockname())) as (other,):
        waiter = Waiter(lambda: select.select([connection, other], [], [], 5))
        wait = waiter.wait(kind=waits.SEVERAL)
        assert str(wait) == f"several descriptors ({name_of(server)}, {name_of(server)})"
        assert wait.fd == -1
        other.shutdown(socket.SHUT_RDWR)
        waiter.join()


def test_a_pipe_with_an_end_elsewhere_is_no_bystander(connection):
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    waiter = Waiter(lambda: select.select([connection, child.stdout], [], [], 5))
    assert waiter.wait(kind=waits.SEVERAL).fd == -1
    child.communicate()
    waiter.join()


def test_what_is_no_socket_is_named_by_its_kind(tmp_path):
    lock, gate = threading.Lock(), threading.Event()
    lock.acquire()
    read_end, write_end = os.pipe()
    held = open(tmp_path / "held", "w")  # noqa: SIM115
    fcntl.flock(held, fcntl.LOCK_EX)
    path = tmp_path / "held"

    def flock():
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    cases = {
        "a lock": Waiter(lambda: lock.acquire(timeout=10)),
        "the end of a sleep": Waiter(lambda: time.sleep(1)),
        "a pipe": Waiter(lambda: os.read(read_end, 1)),
        f"a file lock on {path}": Waiter(flock),
        "a child process": Waiter(lambda: subprocess.run(["sleep", "1"], check=True)),
    }
    for text, waiter in cases.items():
        until = time.monotonic() + 5
        while str(waits.wait_of(waiter.native) if waiter.native else "") != text:
            assert time.monotonic() < until, (text, waits.wait_of(waiter.native))
            time.sleep(0.01)
    lock.release()
    gate.set()
    os.write(write_end, b"x")
    held.close()
    for waiter in cases.values():
        waiter.join()
    os.close(read_end)
    os.close(write_end)


def test_a_thread_that_runs_or_is_gone_waits_for_nothing():
    assert waits.wait_of(threading.get_native_id()) is None
    waiter = Waiter(int)
    waiter.join()
    time.sleep(0.05)
    assert waits.wait_of(waiter.native) is None
    assert waits.wait_of(2**22 + 1) is None


def test_memory_that_is_not_mapped_is_an_error_and_no_crash():
    with pytest.raises(OSError, match=r"mapped|error"):
        waits_calls.memory(16, 8)


def test_what_an_epoll_watches_is_read_from_its_fdinfo():
    text = (
        b"pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1059\n"
        b"tfd:        8 events: 80000019 data:                8  pos:0 ino:3e4d sdev:8\n"
        b"tfd:       11 events:       19 data:                b\n"
    )
    assert waits_calls.epoll_targets(text) == ((8, 0x3E4D), (11, 0))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x02\x00\x15\x38\x0a\x00\x00\x05" + bytes(8), "10.0.0.5:5432"),
        (b"\x0a\x00\x18\xeb" + bytes(4) + bytes(15) + b"\x01" + bytes(4), "[::1]:6379"),
        (
            b"\x0a\x00\x0c\xea" + bytes(4) + bytes(10) + b"\xff\xff\x0a\x00\x00\x05" + bytes(4),
            "10.0.0.5:3306",
        ),
        (b"\x01\x00/run/a.sock\x00", "/run/a.sock"),
        (b"\x01\x00\x00abstract", "@abstract"),
        (b"\x01\x00", ""),
        (b"", ""),
    ],
)
def test_addresses_are_text(raw, text):
    assert waits_sockets.address_text(raw) == text


@pytest.mark.parametrize(
    ("peer", "service"),
    [
        ("10.0.0.5:5432", "postgres"),
        ("[::1]:6379", "redis"),
        ("/var/run/postgresql/.s.PGSQL.5432", "postgres"),
        ("/run/mysqld/mysqld.sock", "mysql"),
        ("10.0.0.5:12345", ""),
        ("/run/app.sock", ""),
        ("", ""),
    ],
)
def test_known_services_are_named(peer, service):
    assert waits_sockets.service_of(peer) == service


def test_the_snapshot_has_what_the_worker_began_with(server, connection):
    found = waits_sockets.snapshot()
    assert os.fstat(connection.fileno()).st_ino in found.inodes
    assert found.listening >= {name_of(server)}


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to change the user")
def test_a_process_that_has_changed_its_user_says_so_and_how_to_avoid_it():
    code = (
        "os.setgid(65534); os.setuid(65534)\n"
        "sleeper = threading.Thread(target=threading.Event().wait, args=(1,))\n"
        "sleeper.start(); print(waits.why_not()); print(waits.wait_of(sleeper.native_id))"
    )
    # imported before the change: the checkout may be root's alone
    code = f"import os, threading\nfrom resilient_wsgi.host import waits\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reason, wait = done.stdout.splitlines()
    assert "has changed its user" in reason
    assert "systemd: User=" in reason
    assert wait == "None"
