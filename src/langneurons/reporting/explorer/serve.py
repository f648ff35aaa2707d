"""The report on this machine alone, for runs whose explorer does not fit into one file."""

from __future__ import annotations

import mimetypes
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from langneurons.errors import InputError

HOST = "127.0.0.1"
_NAMES = {HOST, "localhost"}


def server(report: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a report's folder on 127.0.0.1; ``serve_forever`` starts it.

    It gives files of the folder and nothing else, and answers only to its own name, so that no
    other site's page can read it by pointing a name of its own at this machine.

    Args:
        report: Folder with ``index.html``.
        port: Port; 0 takes a free one, see ``server_address``.

    Raises:
        InputError: If there is no page, or the port is taken.
    """
    root = report.resolve()
    if not (root / "index.html").is_file():
        raise InputError(f"no report in {str(report)!r}: write one by `langneurons report`.")

    class Handler(_Handler):
        folder = root

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {HOST}:{port} ({reason}): take another port."
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """Files of one folder, by GET and HEAD."""

    folder: Path
    server_version, sys_version = "langneurons", ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "not this server's name")
            return
        path = self._path()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        text = kind.startswith("text/") or kind == "application/json"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _path(self) -> Path | None:
        """The file asked for, or None where it is not one of the folder's."""
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if "\0" in name:
            return None
        path = (self.folder / name).resolve()
        inside = path.is_relative_to(self.folder)
        return path if inside and path.is_file() else None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the address alone."""
