"""A tiny server that speaks OpenAI's dialect and misbehaves on demand."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Well", ",", " here", " is", " an", " answer", "."]


def chunk(delta: dict, finish: str | None = None, **more) -> dict:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fake",
        "choices": [choice],
    } | more


USAGE = {"prompt_tokens": 5, "completion_tokens": len(WORDS), "total_tokens": 5 + len(WORDS)}


@dataclass
class Seen:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: dict


@dataclass
class Fake:
    """The server. `behave` answers each request; the folder of behaviours is below."""

    behave: Callable[[Exchange], None] = lambda exchange: whole(exchange)
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("content-length", "0"))
                body = json.loads(self.rfile.read(length))
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake.seen.append(Seen(self.path, headers, body))
                fake.behave(Exchange(self, body))

            def do_GET(self):
                Exchange(self, {}).json(200, {"object": "list", "data": []})

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            # Streams that a test leaves open do not hold up its end.
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, *_):
                # A peer that is gone is what many tests are about.
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.released = threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


class Exchange:
    """One request, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict):
        self.handler = handler
        self.body = body
        self.streamed = bool(body.get("stream"))

    def json(self, status: int, body: dict, **headers: str):
        self.raw(status, "application/json", json.dumps(body).encode(), **headers)

    def raw(self, status: int, kind: str, body: bytes, **headers: str):
        handler = self.handler
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    def start_stream(self):
        self.handler.send_response(200)
        self.handler.send_header("content-type", "text/event-stream")
        self.handler.send_header("transfer-encoding", "chunked")
        self.handler.end_headers()

    def event(self, data: dict | str):
        text = data if isinstance(data, str) else json.dumps(data)
        self.part(f"data: {text}\n\n".encode())

    def part(self, data: bytes):
        self.handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.handler.wfile.flush()

    def end_stream(self):
        """A clean end of the body, whatever was in it."""
        self.handler.wfile.write(b"0\r\n\r\n")
        self.handler.wfile.flush()

    def cut(self):
        """A reset, in the middle of whatever it was."""
        connection = self.handler.connection
        self.handler.wfile.flush()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.handler.close_connection = True


def whole(exchange: Exchange):
    """As it should be."""
    if not exchange.streamed:
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": "fake"}
        exchange.json(200, answer | {"choices": [choice], "usage": USAGE})
        return
    exchange.start_stream()
    exchange.event(chunk({"role": "assistant", "content": ""}))
    for word in WORDS:
        exchange.event(chunk({"content": word}))
    exchange.event(chunk({}, "stop"))
    exchange.event(chunk({}) | {"choices": [], "usage": USAGE})
    exchange.event("[DONE]")
    exchange.end_stream()


def status(code: int, kind: str = "server_error", **headers: str) -> Callable[[Exchange], None]:
    """An error in OpenAI's envelope."""

    def behave(exchange: Exchange):
        exchange.json(code, {"error": {"message": "the fake says no", "type": kind, "code": None}}, **headers)

    return behave


def web_page(exchange: Exchange):
    """What a captive portal or a broken balancer answers: 200 and a page."""
    exchange.raw(200, "text/html", b"<html><body>Welcome!</body></html>")


def not_json(exchange: Exchange):
    """Says JSON and is none."""
    exchange.raw(200, "application/json", b'{"id": "chatcmpl-fa')


def reset_at_once(exchange: Exchange):
    """The connection is lost before a byte of answer."""
    exchange.cut()


def ends_before_content(exchange: Exchange):
    """A stream with a role and nothing else, then a clean end."""
    exchange.start_stream()
    exchange.event(chunk({"role": "assistant", "content": ""}))
    exchange.end_stream()


def fails_before_content(exchange: Exchange):
    """A stream that begins with an error event."""
    exchange.start_stream()
    exchange.event({"error": {"message": "the fake is sorry", "type": "server_error", "code": 500}})
    exchange.end_stream()


def cut_after(words: int) -> Callable[[Exchange], None]:
    """A stream that is reset after so many words."""

    def behave(exchange: Exchange):
        begin(exchange, words)
        exchange.cut()

    return behave


def ends_after(words: int) -> Callable[[Exchange], None]:
    """A stream that ends cleanly after so many words, without finish_reason and [DONE]: the trap."""

    def behave(exchange: Exchange):
        begin(exchange, words)
        exchange.end_stream()

    return behave


def fails_after(words: int) -> Callable[[Exchange], None]:
    """A stream with an error event after so many words."""

    def behave(exchange: Exchange):
        begin(exchange, words)
        exchange.event({"error": {"message": "the fake is sorry", "type": "server_error", "code": 500}})
        exchange.event("[DONE]")
        exchange.end_stream()

    return behave


def garbles_after(words: int, times: int) -> Callable[[Exchange], None]:
    """A stream with events that are no JSON after so many words, and then the rest."""

    def behave(exchange: Exchange):
        begin(exchange, words)
        for _ in range(times):
            exchange.event('{"choices": [')
        for word in WORDS[words:]:
            exchange.event(chunk({"content": word}))
        exchange.event(chunk({}, "stop"))
        exchange.event("[DONE]")
        exchange.end_stream()

    return behave


def silent_after(words: int, until: threading.Event) -> Callable[[Exchange], None]:
    """A stream that says nothing more after so many words."""

    def behave(exchange: Exchange):
        begin(exchange, words)
        until.wait(60)

    return behave


def begin(exchange: Exchange, words: int):
    exchange.start_stream()
    exchange.event(chunk({"role": "assistant", "content": ""}))
    for word in WORDS[:words]:
        exchange.event(chunk({"content": word}))
