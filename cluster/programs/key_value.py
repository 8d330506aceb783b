"""PUT /key keeps a value in memory, GET /key gives it, GET / says how many there are."""

import sqlite3
from http.server import BaseHTTPRequestHandler, HTTPServer

table = sqlite3.connect(":memory:")
table.execute("CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)")


class KeyValue(BaseHTTPRequestHandler):
    def do_PUT(self):
        value = self.rfile.read(int(self.headers["Content-Length"]))
        table.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (self.path[1:], value))
        self.answer(204)

    def do_GET(self):
        if self.path == "/":
            (count,) = table.execute("SELECT count(*) FROM pairs").fetchone()
            return self.answer(200, str(count).encode())
        found = table.execute("SELECT value FROM pairs WHERE key = ?", (self.path[1:],)).fetchone()
        return self.answer(404) if found is None else self.answer(200, found[0])

    def answer(self, status, body=b""):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


HTTPServer(("", 8080), KeyValue).serve_forever()
