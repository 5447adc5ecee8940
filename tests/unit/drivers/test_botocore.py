"""botocore: its attempts stop at the deadline."""

from __future__ import annotations

import time

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.outbound import install, uninstall

session = pytest.importorskip("botocore.session")
exceptions = pytest.importorskip("botocore.exceptions")
UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    install()

    def make(port):
        return session.get_session().create_client(
            "s3", "us-east-1", endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip

    yield make
    uninstall()


def test_a_server_that_says_nothing_is_asked_once(client, stub):
    server = stub()
    api = client(server.port)
    began = time.monotonic()
    with pytest.raises(exceptions.ReadTimeoutError) as raised, deadline.limit(0.3):
        api.list_buckets()
    assert time.monotonic() - began < 2
    assert isinstance(raised.value, deadline.DeadlineExceeded)
    assert "limit 0.3 s (deadline.limit)" in str(raised.value)
    assert server.connections == 1


def test_no_pause_lasts_beyond_the_deadline(client, stub, monkeypatch):
    standard = pytest.importorskip("botocore.retries.standard")
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 5.0)
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    server = stub((True, UNAVAILABLE))
    api = client(server.port)
    began = time.monotonic()
    with pytest.raises(exceptions.ClientError), deadline.limit(3):
        api.list_buckets()
    assert time.monotonic() - began < 3
    assert server.connections == 1
