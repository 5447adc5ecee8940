"""An HTTP upstream in this process that answers every request with `ok`."""

from __future__ import annotations

import contextlib
import http.server
import threading


class _Ok(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


@contextlib.contextmanager
def answering():
    """Run it; yield its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Ok) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
