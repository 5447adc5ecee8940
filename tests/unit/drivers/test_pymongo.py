"""pymongo: its own limits, where the app has set none."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import pytest

from resilient_wsgi import deadline
from tests.unit.drivers.conftest import ended

bson = pytest.importorskip("bson")
pymongo = pytest.importorskip("pymongo")

HELLO = {
    "ok": 1,
    "helloOk": True,
    "ismaster": True,
    "isWritablePrimary": True,
    "maxWireVersion": 21,
    "minWireVersion": 0,
    "logicalSessionTimeoutMinutes": 30,
    "setName": "a",
    "hosts": ["a:1"],
}


class Mongo:
    """A server that answers who it is, and nothing else."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.commands = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, struct.error), client:
            while True:
                length, number, _, kind = struct.unpack("<iiii", self._read(client, 16))
                body = self._read(client, length - 16)
                if kind == 2004:  # OP_QUERY, of the first hello
                    self._reply(client, number, 1, struct.pack("<iqii", 0, 0, 0, 1))
                    continue
                command = bson.decode(body[5 : 5 + struct.unpack_from("<i", body, 5)[0]])
                self.commands.append(command)
                if "hello" in command or "ismaster" in command:
                    time.sleep(command.get("maxAwaitTimeMS", 0) / 1000)
                    self._reply(client, number, 2013, b"\x00\x00\x00\x00\x00")

    @staticmethod
    def _read(client, length):
        return client.recv(length, socket.MSG_WAITALL)

    @staticmethod
    def _reply(client, number, kind, head):
        data = head + bson.encode(HELLO)
        client.sendall(struct.pack("<iiii", 16 + len(data), 1, number, kind) + data)

    def command(self, name):
        return next(each for each in self.commands if name in each)


@pytest.fixture
def mongo():
    server = Mongo()
    yield server
    server.listener.close()


@contextlib.contextmanager
def client_of(port, **options):
    client = pymongo.MongoClient("127.0.0.1", port, directConnection=True, **options)
    try:
        yield client
    finally:
        client.close()


def test_no_server_answers(stub):
    with client_of(stub().port) as client, ended(pymongo.errors.ServerSelectionTimeoutError):
        client.a.b.find_one()


def test_an_operation_ends_and_the_server_is_told(mongo):
    with client_of(mongo.port) as client, ended(pymongo.errors.NetworkTimeout):
        client.a.b.find_one()
    assert 200 < mongo.command("find")["maxTimeMS"] <= 300


def test_numbers_of_the_app_are_kept(mongo):
    with client_of(mongo.port) as client:
        with ended(pymongo.errors.NetworkTimeout):
            list(client.a.b.find(max_time_ms=100))
        concern = pymongo.WriteConcern(w=1, wtimeout=77)
        with ended(pymongo.errors.NetworkTimeout):
            client.a.get_collection("b", write_concern=concern).insert_one({})
    assert mongo.command("find")["maxTimeMS"] == 100
    assert mongo.command("insert")["writeConcern"] == {"w": 1, "wtimeout": 77}


@pytest.mark.parametrize("option", ["socketTimeoutMS", "timeoutMS"])
def test_a_limit_of_that_kind_that_the_app_has_set_is_not_replaced(mongo, option):
    with client_of(mongo.port, retryReads=False, **{option: 200}) as client:
        began = time.monotonic()
        with pytest.raises(pymongo.errors.PyMongoError) as raised, deadline.limit(5):
            client.a.b.find_one()
    assert time.monotonic() - began < 1
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_without_a_deadline_nothing_is_added(mongo):
    with client_of(mongo.port, socketTimeoutMS=300, retryReads=False) as client:
        with pytest.raises(pymongo.errors.NetworkTimeout):
            client.a.b.find_one()
    assert "maxTimeMS" not in mongo.command("find")
