"""The shop's page: the latest orders from PostgreSQL, and a count of visits in Redis.

GET / shows the page, POST / places an order. Connections are made anew for each request, so the
page goes on by itself when the database has moved.
"""

import html
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

PORT = int(os.environ.get("PORT", "8080"))
TABLE = """CREATE TABLE IF NOT EXISTS orders (
    id bigserial PRIMARY KEY, item text NOT NULL, placed timestamptz NOT NULL DEFAULT now())"""
PAGE = """<!doctype html><title>Shop</title>
<h1>Shop</h1>
<p>{visits} visits, {count} orders.</p>
<form method=post><button>Order a cup of tea</button></form>
<table>{rows}</table>
"""


def redis(*words):
    """Sends one command to Redis and returns its one-line answer."""
    address = (os.environ.get("REDIS_HOST", "redis"), int(os.environ.get("REDIS_PORT", "6379")))
    with socket.create_connection(address, timeout=10) as connection:
        parts = [f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words]
        connection.sendall("".join(parts).encode())
        answer = connection.makefile("rb").readline().decode().strip()
    if answer.startswith("-"):
        raise RuntimeError(f"Redis: {answer[1:]}")
    return answer[1:]


def orders(item=None):
    """Places an order if one is given; returns how many there are, and the latest ten."""
    # The address and the password come from the PG... variables that every client library reads.
    with psycopg2.connect(connect_timeout=10) as database, database.cursor() as cursor:
        cursor.execute("SELECT to_regclass('orders')")
        if cursor.fetchone()[0] is None:
            cursor.execute(TABLE)
        if item:
            cursor.execute("INSERT INTO orders (item) VALUES (%s)", (item,))
        cursor.execute("SELECT count(*) FROM orders")
        count = cursor.fetchone()[0]
        cursor.execute("SELECT id, item, placed FROM orders ORDER BY id DESC LIMIT 10")
        return count, cursor.fetchall()


class Shop(BaseHTTPRequestHandler):
    """One request."""

    def answer(self, item=None):
        try:
            count, latest = orders(item)
            cells = "".join(
                f"<tr><td>{number}<td>{html.escape(what)}<td>{when:%H:%M:%S}"
                for number, what, when in latest
            )
            status, page = 200, PAGE.format(visits=redis("INCR", "visits"), count=count, rows=cells)
        except (OSError, RuntimeError, psycopg2.Error) as error:
            status, page = 503, f"<h1>Closed for a moment</h1><p>{html.escape(str(error))}"
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            self.answer()
        else:
            self.send_error(404)

    def do_POST(self):
        self.answer("a cup of tea")


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Shop).serve_forever()
