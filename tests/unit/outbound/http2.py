"""An upstream that speaks HTTP/2 over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading


class Http2:
    """Answers each call after as many seconds as its path says; `/silent` never."""

    def __init__(self, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.context.wrap_socket(self.listener.accept()[0], server_side=True)
                self.connections += 1
                self.threads.append(threading.Thread(target=self.serve, args=(sock,), daemon=True))
                self.threads[-1].start()

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
