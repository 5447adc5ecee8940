"""grpc: calls with one answer get a timeout; a stream is cancelled by the watchdog."""

from __future__ import annotations

import threading
import time
from concurrent import futures

import pytest

from resilient_wsgi import deadline
from tests.unit.drivers.conftest import ended

grpc = pytest.importorskip("grpc")


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/a/one":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: time.sleep(1.5))
        return grpc.unary_stream_rpc_method_handler(self.many)

    def many(self, request, context):
        yield b"1"
        time.sleep(1.5)


@pytest.fixture(scope="module")
def channel():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(0).wait()


@pytest.mark.parametrize("how", ["__call__", "with_call"])
def test_a_call_ends(channel, how, happened):
    with ended(grpc.RpcError) as raised:
        getattr(channel.unary_unary("/a/one"), how)(b"")
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert happened[0].peer.endswith("/a/one")


def test_a_timeout_of_the_caller_is_kept(channel):
    with pytest.raises(grpc.RpcError) as raised, deadline.limit(5):
        channel.unary_unary("/a/one")(b"", timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_a_stream_is_cancelled_where_the_watchdog_ends_its_wait(channel):
    with pytest.raises(grpc.RpcError) as raised, deadline.limit(60) as limit:
        stream = channel.unary_stream("/a/many")(b"")
        assert next(stream) == b"1"
        threading.Timer(0.2, lambda: [wait.interrupt() for wait in list(limit.waits)]).start()
        next(stream)
    assert isinstance(raised.value, deadline.DeadlineExceeded)
    assert raised.value.code() is grpc.StatusCode.CANCELLED


def test_futures_and_streams_as_such_have_no_limit(channel):
    with deadline.limit(0.1):
        answer = channel.unary_unary("/a/one").future(b"")
        stream = channel.unary_stream("/a/many")(b"")
    assert next(stream) == b"1"
    assert answer.exception(timeout=3).code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert list(stream) == []
