"""What the tests share: routers as real processes, clients for them, and stubs made from proto/."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc
import openai
import pytest

import configs
from processes import BINARY, Router

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure():
    if not BINARY.exists():
        pytest.exit(f"there is no {BINARY}: build it, or say where it is with GRIDTIE_BIN", returncode=4)


@pytest.fixture(scope="session")
def router(tmp_path_factory):
    """Two pools of simulated engines. Tests change nothing in it, so all can have the same one."""
    with Router(tmp_path_factory.mktemp("router"), configs.TWO_POOLS) as router:
        yield router
        # Whatever the tests did to it, it goes down as it should.
        assert router.terminate() == 0, router.said()


@pytest.fixture
def start(tmp_path):
    """Starts routers with configs of the test's own; they end with it."""
    started: list[Router] = []

    def start(config: str, **environment: str) -> Router:
        router = Router(tmp_path / f"router-{len(started)}", config, **environment)
        started.append(router)
        return router.__enter__()

    yield start
    for router in started:
        router.kill()


def client(router: Router, **more) -> openai.OpenAI:
    """The official SDK, unmodified, but for its own retries: they would hide what the router did."""
    return openai.OpenAI(base_url=router.url, **({"api_key": "unused", "max_retries": 0, "timeout": 30} | more))


@pytest.fixture
def sdk(router):
    with client(router) as sdk:
        yield sdk


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Messages and stubs as a Python user gets them, from the protos of this tree."""
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("stubs")
    own = [str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto" / "gridtie").rglob("*.proto"))]
    bundled = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{bundled}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main([*arguments, *own]) == 0
    sys.path.insert(0, str(out))
    modules = {name: importlib.import_module(f"gridtie.v1.{name}") for name in MODULES}
    return SimpleNamespace(
        pb=modules["inference_pb2"],
        rpc=modules["inference_pb2_grpc"],
        admin_pb=modules["admin_pb2"],
        admin_rpc=modules["admin_pb2_grpc"],
    )


MODULES = ["inference_pb2", "inference_pb2_grpc", "admin_pb2", "admin_pb2_grpc"]


def channel(target: str) -> grpc.Channel:
    """A connection of its own, and no retries that would hide what the router did."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    return grpc.insecure_channel(target, options=options)


@pytest.fixture
def inference(router, stubs):
    with channel(router.grpc_target) as connected:
        yield stubs.rpc.InferenceStub(connected)


@pytest.fixture
def admin(router, stubs):
    with channel(router.admin_target) as connected:
        yield stubs.admin_rpc.AdminStub(connected)
