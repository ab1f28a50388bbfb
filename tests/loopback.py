"""A web server on the loopback interface whose pages a test writes: whole, broken, or in two halves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIMIT = 10  # seconds before a wait counts as failed


class Site(ThreadingHTTPServer):
    """Serves `pages`: path -> a function that is given the request handler and answers the request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages, self.asked, self.half_sent = {}, [], threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away is part of some tests; what the client then says is what they look at."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        self.server.pages.get(self.path, answer(404))(self)

    do_HEAD = do_GET

    def log_message(self, *args):
        """Nothing on stderr, which tests look at."""


def answer(status, body=b"", length=None, go_on=None, **headers):
    """A page with `body`; `length` is the Content-Length it claims. With an event `go_on` half of the body is sent at
    once, and the rest when it is set."""

    def page(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": length or len(body), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        if handler.command == "GET":
            half = len(body) // 2 if go_on else len(body)
            handler.wfile.write(body[:half])
            handler.wfile.flush()
            handler.server.half_sent.set()
            if go_on and go_on.wait(LIMIT):
                handler.wfile.write(body[half:])

    return page


@contextmanager
def serving() -> Iterator[Site]:
    """A site that answers until the end."""
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join(LIMIT)
