"""The true depth and limit of listen queues."""

from __future__ import annotations

import os
import socket

import pytest

from resilient_wsgi.host import sockets


@pytest.fixture(params=["tcp", "tcp6", "unix"])
def listening(request, tmp_path):
    if request.param == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "s"))
    else:
        family, host = (
            (socket.AF_INET, "127.0.0.1") if request.param == "tcp" else (socket.AF_INET6, "::1")
        )
        sock = socket.socket(family)
        try:
            sock.bind((host, 0))
        except OSError:
            sock.close()
            pytest.skip("IPv6 not found")
    sock.listen(7)
    with sock:
        yield sock


def connect(listening, count):
    clients = [socket.socket(listening.family) for _ in range(count)]
    for client in clients:
        client.connect(listening.getsockname())
    return clients


def test_the_true_depth_and_limit_of_a_listen_queue_are_seen(listening):
    clients = connect(listening, 5)
    queue = sockets.listener(listening.fileno())
    for client in clients:
        client.close()
    assert (queue.depth, queue.limit) == (5, 7)
    assert (
        str(listening.getsockname()[1 if listening.family != socket.AF_UNIX else slice(None)])
        in queue.name
    )


def test_of_several_queues_the_longest_counts_and_none_if_one_is_not_known(listening):
    fd = listening.fileno()
    with socket.create_server(("127.0.0.1", 0), backlog=12) as other:
        assert sockets.most_room([fd]) == 7
        assert sockets.most_room([fd, other.fileno()]) == 12
    with open(os.devnull) as file:
        assert sockets.most_room([fd, file.fileno()]) is None
    assert sockets.most_room([]) is None


def test_the_queues_of_another_process_are_seen_from_outside(listening):
    clients = connect(listening, 3)
    seen = {queue.name: queue for queue in sockets.listeners_of(os.getpid())}
    for client in clients:
        client.close()
    assert (3, 7) in [(queue.depth, queue.limit) for queue in seen.values()]


def test_a_default_timeout_of_the_app_does_not_change_the_descriptor(listening):
    socket.setdefaulttimeout(3)
    try:
        sockets.listener(listening.fileno())
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(listening.fileno())


def test_a_descriptor_that_does_not_listen_is_a_clear_error():
    left, right = socket.socketpair()
    with left, right, pytest.raises(OSError, match="does not listen"):
        sockets.listener(left.fileno())


def test_a_process_that_is_not_there_is_a_clear_error():
    with pytest.raises(ProcessLookupError, match="no process 4194305"):
        sockets.listeners_of(4194305)


def test_the_families_of_listening_sockets_are_told_apart(listening):
    assert sockets.families([listening.fileno()]) == {listening.family}
    assert sockets.families([]) == set()


def test_with_one_whose_family_is_not_known_none_is(listening):
    left, right = socket.socketpair()
    with left, right:
        assert sockets.families([listening.fileno(), left.fileno()]) == set()
    assert sockets.families([left.fileno()]) == set()
