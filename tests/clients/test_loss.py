"""Real processes killed under load: no whole answer is lost while somebody can give it, and no stream ends silently."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import ExitStack

import pytest

import configs
from processes import Mock, until

# What every worker asks; short enough that many fit into a test, long enough that a kill hits some of them.
TOKENS = 25


class Load:
    """Clients that ask one thing after the other until they are told to stop, and a ledger of how each ended."""

    def __init__(self, port: int, unary: int, streams: int):
        self.port = port
        self.ended: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        jobs = [self.whole] * unary + [self.stream] * streams
        self.workers = [threading.Thread(target=self.work, args=(job,), daemon=True) for job in jobs]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for worker in self.workers:
            worker.join(timeout=30)
        assert not any(worker.is_alive() for worker in self.workers), "a call hangs"

    def work(self, job):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stopped.is_set():
            try:
                end = job(connection)
            except (OSError, http.client.HTTPException) as error:
                end = f"lost: {error!r}"
                connection.close()
            with self.lock:
                self.ended.append((job.__name__, end))
        connection.close()

    def ask(self, connection, stream: bool):
        body = {"model": "chat", "messages": [{"role": "user", "content": "Hello."}], "stream": stream}
        body |= {"max_tokens": TOKENS}
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return connection.getresponse()

    def whole(self, connection) -> str:
        response = self.ask(connection, stream=False)
        body = response.read()
        if response.status != 200:
            return f"refused: {response.status} {body.decode(errors='replace')}"
        return "whole" if json.loads(body)["choices"][0]["finish_reason"] else f"half: {body!r}"

    def stream(self, connection) -> str:
        """Judged as an SDK judges, only harder: whole is what has a reason to end, the end itself, and no error."""
        response = self.ask(connection, stream=True)
        body = response.read()
        if response.status != 200:
            return f"refused: {response.status} {body.decode(errors='replace')}"
        events = [line.removeprefix(b"data:").strip() for line in body.split(b"\n") if line.startswith(b"data:")]
        ended = bool(events) and events[-1] == b"[DONE]"
        parsed = [json.loads(event) for event in events if event != b"[DONE]"]
        failed = any("error" in event for event in parsed)
        finished = any(choice.get("finish_reason") for event in parsed for choice in event.get("choices", []))
        if ended and finished and not failed:
            return "whole"
        if failed and not ended and not finished:
            return "broken, and said so"
        return f"silent: {body[-500:]!r}"

    def count(self) -> int:
        with self.lock:
            return len(self.ended)

    def more(self, calls: int):
        """Waits until so many further calls have ended."""
        goal = self.count() + calls
        until(lambda: self.count() >= goal, f"{calls} more calls end", seconds=30)

    def ends(self, kind: str) -> list[str]:
        with self.lock:
            return [end for job, end in self.ended if job == kind]


@pytest.fixture
def grid(tmp_path, start):
    """Two pools of processes, `near` with two endpoints and `far` with one, and a router before them."""
    with ExitStack() as stack:
        near = [stack.enter_context(Mock(tmp_path / f"near-{i}", configs.ENGINES)) for i in range(2)]
        far = stack.enter_context(Mock(tmp_path / "far", configs.ENGINES))
        pools = configs.openai("near", [mock.http for mock in near], tenure="owned", order=1)
        pools += configs.openai("far", [far.http], order=2)
        yield start(configs.ORDERED + configs.CHAT + pools), near, far


def served(router, pool: str) -> float:
    return router.metric("gridtie_attempts_total", pool=pool, result="ok")


def check(load: Load):
    lost = [end for end in load.ends("whole") if end != "whole"]
    assert not lost, f"{len(lost)} calls were not answered: {lost[:3]}"
    streams = load.ends("stream")
    # A stream that had begun where the kill struck cannot be whole; it must say so.
    bad = [end for end in streams if end not in ("whole", "broken, and said so")]
    assert not bad, f"{len(bad)} streams: {bad[:3]}"
    assert "whole" in streams


def test_an_endpoint_is_killed_and_then_the_rest_of_its_pool(grid):
    router, near, _ = grid
    with Load(router.http, unary=12, streams=12) as load:
        load.more(30)
        near[0].kill()
        load.more(60)
        near[1].kill()
        load.more(60)
    check(load)
    assert served(router, "far") > 0


def test_a_killed_pool_that_comes_back_is_used_again(grid):
    router, near, far = grid
    with Load(router.http, unary=6, streams=6) as load:
        load.more(20)
        for mock in near:
            mock.kill()
        load.more(40)
        before = served(router, "near")
        with near[0].again(), near[1].again():
            # What was ejected is tried again after some seconds.
            until(lambda: served(router, "near") > before, "the pool is used again", seconds=30)
            load.more(20)
    check(load)


def test_the_router_goes_down_without_losing_a_call(grid):
    router, _, _ = grid
    with Load(router.http, unary=6, streams=6) as load:
        load.more(20)
        router.child.terminate()
        # Who asks now finds nobody; who asked before is answered.
        load.stopped.set()
    assert router.terminate() == 0, router.said()
    bad = [end for job in ("whole", "stream") for end in load.ends(job) if end != "whole"]
    # A connection may be closed between two calls of a worker, and a call come too late for this router.
    bad = [end for end in bad if not end.startswith(("lost:", "refused: 503"))]
    assert not bad, bad[:3]
