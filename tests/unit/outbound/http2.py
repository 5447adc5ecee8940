"""An upstream that speaks HTTP/2 over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl

from tests.unit.outbound.upstreams import Threaded


class Http2(Threaded):
    """Answers each call after as many seconds as its path says; `/silent` never."""

    scheme = "https"

    def __init__(self, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.set_alpn_protocols(["h2"])
        self.connections = 0
        super().__init__()

    def opened(self, sock):
        sock = self.context.wrap_socket(sock, server_side=True)
        self.connections += 1
        return sock

    def serve(self, sock):
        import h2.config
        import h2.connection
        import h2.events

        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        sock.settimeout(0.02)
        due = []
        waited = 0.0
        with sock, contextlib.suppress(OSError):
            while not self.over.is_set():
                try:
                    data = sock.recv(65536)
                    if not data:
                        return
                    for event in conn.receive_data(data):
                        if isinstance(event, h2.events.RequestReceived):
                            path = dict(event.headers)[b":path"].decode()[1:]
                            if path != "silent":
                                due.append((waited + float(path), event.stream_id))
                except socket.timeout:
                    waited += 0.02
                for item in [item for item in due if item[0] <= waited]:
                    due.remove(item)
                    conn.send_headers(item[1], [(":status", "200"), ("content-length", "2")])
                    conn.send_data(item[1], b"ok", end_stream=True)
                sock.sendall(conn.data_to_send())
