"""Optuna Dashboard on a socket that listens already: `tlsearch ui` runs this file.

The dashboard's own command takes a port's number, and between finding a free one and taking it
somebody else may take it; a socket that was handed over is ours.
"""

import os
import socket
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

STORAGE = "TLSEARCH_DASHBOARD_STORAGE"
"""Environment variable with Optuna's address. Not an argument: it may hold a password."""
ARTIFACTS = "TLSEARCH_DASHBOARD_ARTIFACTS"
"""Environment variable with the folder of Optuna's artifacts, which need not be there yet."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the dashboard's page asks every few seconds, all day."""


def main() -> None:
    """Serve on the socket that is standard input, until a signal ends the process."""
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    storage = os.environ.pop(STORAGE)
    store = FileSystemArtifactStore(os.environ.pop(ARTIFACTS))
    listening = socket.socket(fileno=0)
    server = _Server(listening.getsockname(), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = listening.getsockname()
    server.setup_environ()
    server.set_app(wsgi(storage, artifact_store=store))
    server.serve_forever()


if __name__ == "__main__":
    main()
