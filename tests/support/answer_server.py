"""A small server of OpenAI's protocol on the loopback interface, whose answers a test gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and the answer: JSON, or text or bytes as they are."""


class Server:
    """Answers each POST by `reply(number of the request, path, body)`."""

    def __init__(self) -> None:
        self.reply: Callable[[int, str, dict], Reply] = lambda n, path, body: (200, {}, chat({"yes": -0.1}))
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                status, headers, answer = outer.reply(number, self.path, body)
                text = answer if isinstance(answer, str | bytes) else json.dumps(answer)
                data = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = "Content-Length" in headers

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def chat(top: dict[str, float] | Sequence[dict[str, Any]], text: str = "yes", finish: str = "length") -> dict:
    """A chat completion. top: token -> log-probability, or the entries of `top_logprobs`."""
    entries = [{"token": t, "logprob": p} for t, p in top.items()] if isinstance(top, dict) else list(top)
    content = [{"token": text, "top_logprobs": entries}]
    choice = {"message": {"content": text}, "logprobs": {"content": content}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}
