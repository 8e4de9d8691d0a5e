"""An OpenAI-compatible captioner that answers what a test tells it to."""

import http.server
import json
import threading
import time


class Stub:
    """answers: what each request for a caption gets, in order, the last one ever after: a text, (status, body) or a number of seconds to wait."""

    def __init__(self, *answers):
        stub = self
        self.answers, self.asked, self.headers, self.listed = list(answers), [], [], 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def reply(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                stub.listed += 1
                self.reply(200, {"data": [{"id": "first-model"}, {"id": "second"}]}) if self.path == "/v1/models" else self.reply(404, {"detail": "Not Found"})

            def do_POST(self):
                stub.headers.append(dict(self.headers))
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    return self.reply(404, {"detail": "Not Found"})
                stub.asked.append(question)
                answer = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                if isinstance(answer, tuple):
                    return self.reply(*answer)
                if isinstance(answer, float):
                    time.sleep(answer)
                    answer = "late"
                self.reply(200, {"choices": [{"message": {"role": "assistant", "content": answer}}]})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
