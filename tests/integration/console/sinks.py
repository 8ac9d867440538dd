"""Servers that are notified: HTTP and SMTP, real ones, small, on loopback."""

import base64
import http.server
import socketserver
import ssl
import subprocess
import threading


def certificate(folder):
    """A key and a certificate of its own for 127.0.0.1; returns the paths (certificate, key)."""
    cert, key = folder / "sink.pem", folder / "sink.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=sink",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def server_context(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, files))
    return context


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is no news


class Sink:
    """One that runs in a thread; `got` is what came, `answers` what is said next (then the usual)."""

    def __init__(self, handler, tls=None, port=0):
        self.got, self.answers, self.tls = [], [], tls
        self.server = Server(("127.0.0.1", port), handler)
        self.server.sink = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class WebHandler(http.server.BaseHTTPRequestHandler):
    def setup(self):
        if self.server.sink.tls:
            self.request = server_context(self.server.sink.tls).wrap_socket(self.request, server_side=True)
        super().setup()

    def do_POST(self):
        sink = self.server.sink
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = sink.answers.pop(0) if sink.answers else 200
        sink.got.append((status, self.path, dict(self.headers), body))
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", f"http://127.0.0.1:{sink.port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


class MailHandler(socketserver.StreamRequestHandler):
    """RFC 5321, as much as a client that sends a mail needs; STARTTLS and AUTH PLAIN when it has a certificate."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def secure(self):
        self.request = server_context(self.server.sink.tls).wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)

    def handle(self):
        sink, mail = self.server.sink, {"tls": False, "user": None}
        self.say("220 sink")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            word = line.upper()
            if word.startswith(("EHLO", "HELO")):
                offers = ["sink", "8BITMIME", *(["AUTH PLAIN"] if mail["tls"] else ["STARTTLS"] if sink.tls else [])]
                for number, offer in enumerate(offers):
                    self.say(f"250{'-' if number + 1 < len(offers) else ' '}{offer}")
            elif word == "STARTTLS" and sink.tls:
                self.say("220 go on")
                self.secure()
                mail["tls"] = True
            elif word.startswith("AUTH PLAIN"):
                text = line.split()[2] if len(line.split()) > 2 else ""
                if not text:
                    self.say("334 ")
                    text = self.rfile.readline().decode().strip()
                mail["user"] = base64.b64decode(text).decode().split("\0")[1:]
                self.say("235 welcome")
            elif word.startswith("MAIL FROM:"):
                answer = sink.answers.pop(0) if sink.answers else "250 fine"
                mail["from"] = line[10:]
                self.say(answer)
            elif word.startswith("RCPT TO:"):
                mail["to"] = line[8:]
                self.say("250 fine")
            elif word == "DATA":
                self.say("354 go on")
                lines = []
                while (text := self.rfile.readline().decode()) != ".\r\n":
                    assert text.endswith("\r\n") and len(text) < 1000
                    lines.append(text.removeprefix("."))
                sink.got.append({**mail, "text": "".join(lines)})
                self.say("250 taken")
            elif word == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("502 what?")


def web(**kwargs):
    return Sink(WebHandler, **kwargs)


def mail(**kwargs):
    return Sink(MailHandler, **kwargs)
