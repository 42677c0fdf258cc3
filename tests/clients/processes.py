"""Routers and mocks as real processes: a config file, free ports, a log, and an end that is always reached."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

BINARY = Path(os.environ.get("GRIDTIE_BIN", "target/release/gridtie")).resolve()

# Nothing on the way to loopback, whatever the machine's environment says.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
} | {"NO_COLOR": "1"}


def until(true: Callable[[], object], what: str, seconds: float = 10.0):
    """What `true` returns as soon as that is something; fails when it stays nothing for so long."""
    deadline = time.monotonic() + seconds
    while True:
        seen = true()
        if seen:
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


_dealt: set[int] = set()
_dealing = threading.Lock()


def free_port() -> int:
    """A port that nobody listens on, and that this run has not given to anybody yet."""
    with _dealing:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in _dealt:
                _dealt.add(port)
                return port


def get(port: int, path: str, timeout: float = 2.0) -> tuple[int, bytes]:
    """Status and body of a GET on loopback; status 0 if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Process:
    """A child with a log. Ends with the `with` block, whatever happens in it."""

    def __init__(self, arguments: list[str], log: Path, **environment: str):
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                [str(BINARY), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT | environment,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def alive(self) -> bool:
        return self.child.poll() is None

    def kill(self):
        """Kill, as the kernel or a power cut would."""
        if self.alive():
            self.child.kill()
        self.child.wait(timeout=10)

    def terminate(self, seconds: float = 20.0) -> int:
        """Ask it to go; its exit code."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, true: Callable[[], object], what: str, seconds: float = 20.0):
        def look():
            if not self.alive():
                raise AssertionError(f"ended with {self.child.returncode} before {what}:\n{self.said()}")
            return true()

        try:
            return until(look, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None


class Router(Process):
    """`gridtie serve` with a config."""

    def __init__(self, folder: Path, config: str, **environment: str):
        self.grpc, self.http, self.admin = free_port(), free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "gridtie.toml"
        self.config.write_text(listen(self.grpc, self.http, self.admin) + config)
        super().__init__(["serve", "--config", str(self.config)], folder / "router.log", **environment)

    def __enter__(self):
        try:
            self.wait_for(lambda: get(self.admin, "/readyz")[0] == 200, "it is ready")
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}/v1"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    @property
    def admin_target(self) -> str:
        return f"127.0.0.1:{self.admin}"

    def metrics(self) -> str:
        status, body = get(self.admin, "/metrics")
        assert status == 200, status
        return body.decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the series of that name that have these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                have = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                if labels.items() <= have.items():
                    total += float(match[3])
        return total

    def run(self, *arguments: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Another `gridtie` command against this router."""
        return gridtie(*arguments, "--admin", f"http://{self.admin_target}", timeout=timeout)


class Mock(Process):
    """`gridtie mock`: the one simulated pool of a config behind a socket of its own."""

    def __init__(self, folder: Path, config: str, ports: tuple[int, int] | None = None):
        self.http, self.grpc = ports or (free_port(), free_port())
        self.folder, self.pools = folder, config
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "gridtie.toml"
        path.write_text(config)
        places = ["--http-from", str(self.http), "--grpc-from", str(self.grpc)]
        super().__init__(["mock", "--config", str(path), *places], folder / "mock.log")

    def __enter__(self):
        try:
            self.wait_for(lambda: get(self.http, "/v1/models")[0] != 0, "it answers")
        except BaseException:
            self.kill()
            raise
        return self

    def again(self) -> Mock:
        """The same on the same ports, after this one has ended."""
        assert not self.alive()
        return Mock(self.folder / "again", self.pools, (self.http, self.grpc))


def gridtie(*arguments: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [str(BINARY), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=ENVIRONMENT,
    )


def listen(grpc: int, http_port: int, admin: int) -> str:
    return f"""
[listen]
grpc = "127.0.0.1:{grpc}"
http = "127.0.0.1:{http_port}"
admin = "127.0.0.1:{admin}"
reflection = true
"""
