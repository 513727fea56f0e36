"""An OpenAI-compatible endpoint on this machine that says what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeEndpoint:
    """A context manager that serves `/v1/chat/completions`.

    Args:
        reply: gives the status and the text of an answer, from the request's body and the number of the call.
        raw: the body of every answer, instead of what the API says.
        kind: content type of the answers.

    Attributes:
        asked: bodies of all requests.
        keys: their authorization headers.
    """

    def __init__(
        self, reply: Callable[[dict, int], tuple[int, str]], raw: bytes = b"", kind: str = "application/json"
    ) -> None:
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        endpoint, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    endpoint.asked.append(body)
                    endpoint.keys.append(self.headers.get("Authorization"))
                    number = len(endpoint.asked)
                status, text = reply(body, number)
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                good = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                }
                answer = json.dumps(good if status == 200 else {"error": {"message": text}}).encode()
                answer = raw or answer
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> FakeEndpoint:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
