"""Stands in for a project that has no gaia.yaml yet: answers the health path and says what to do. Standard library."""

import json
import os
import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FACTS = {
    "status": "ok",
    "placeholder": True,
    "project": os.environ.get("GAIA_PROJECT", ""),
    "environment": os.environ.get("GAIA_ENVIRONMENT", ""),
    "stage": os.environ.get("STAGE", ""),
}
PAGE = """<!doctype html><meta charset="utf-8"><title>{environment} {stage}</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem">
<h1>{project}: {environment}, stage {stage}</h1>
<p>This is GAIA's placeholder. The project does not say yet how it is started.</p>
<p>Add a file <code>gaia.yaml</code> at the top of the repository, for example:</p>
<pre>command: python manage.py runserver 127.0.0.1:$PORT
health: /health</pre>
<p>The command gets <code>$PORT</code>, <code>$DATABASE_PATH</code>, <code>$STAGE</code> and <code>$APP_ENV</code>.
Then run <code>gaia env setup</code> and launch the stage again.</p>
"""


class Placeholder(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        if path == os.environ.get("HEALTH_PATH", "/health"):
            self.answer(200, "application/json", json.dumps(FACTS) + "\n")
        elif path == "/":
            self.answer(200, "text/html; charset=utf-8", PAGE.format(**FACTS))
        else:
            self.answer(404, "text/plain", "Not here. The placeholder answers / and its health path.\n")

    do_HEAD = do_GET

    def answer(self, code, kind, text):
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        """Health checks every second would only fill the log."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):  # the inherited one asks the name server for this host's name, which can take long
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address[:2]


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Placeholder, bind_and_activate=False)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.server_bind()
    server.server_activate()
    scheme = "http"
    if os.environ.get("TLS_CERT"):
        scheme, tls = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
        # each connection shakes hands in its own thread: one that says nothing must not keep out the others
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(f"placeholder for stage {FACTS['stage']} on {scheme}://localhost:{server.server_port}", flush=True)
    server.serve_forever()
