"""The operator's side: pools listed, watched, drained and resumed; readiness and metrics."""

from __future__ import annotations

import grpc
import pytest

import configs
from conftest import channel, client
from processes import get

SAY = [{"role": "user", "content": "Hello."}]


@pytest.fixture
def own(start, stubs):
    """A router of the test's own, and its admin stub."""
    router = start(configs.TWO_POOLS)
    with channel(router.admin_target) as connected:
        yield router, stubs.admin_rpc.AdminStub(connected)


def pool_of_next_answer(router) -> str:
    with client(router) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(model="chat", messages=SAY, max_tokens=3)
    return raw.headers["x-gridtie-pool"]


def test_pools_are_listed_as_they_are(admin, stubs):
    pb = stubs.admin_pb
    pools = {pool.name: pool for pool in admin.ListPools(pb.ListPoolsRequest(), timeout=10).pools}
    assert list(pools) == ["owned", "cloud"]
    owned = pools["owned"]
    assert owned.tenure == pb.TENURE_OWNED
    assert owned.region == "here"
    assert owned.state == pb.STATE_HEALTHY
    assert not owned.drained
    assert len(owned.endpoints) == 2
    assert {offer.model for offer in owned.offers} == {"chat", "embed"}
    assert pools["cloud"].offers[0].prices.input_usd_per_million == pytest.approx(2.0)


def test_calls_follow_drain_and_resume(own, stubs):
    router, admin = own
    pb = stubs.admin_pb
    assert pool_of_next_answer(router) == "owned"
    drained = admin.DrainPool(pb.DrainPoolRequest(pool="owned"), timeout=10).pool
    assert (drained.drained, drained.state) == (True, pb.STATE_DRAINED)
    for _ in range(5):
        assert pool_of_next_answer(router) == "cloud"
    # Twice is once.
    admin.DrainPool(pb.DrainPoolRequest(pool="owned"), timeout=10)
    resumed = admin.ResumePool(pb.ResumePoolRequest(pool="owned"), timeout=10).pool
    assert not resumed.drained
    with client(router) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(
            model="chat", messages=SAY, max_tokens=3, extra_headers={"x-gridtie-pools": "owned"}
        )
    assert raw.headers["x-gridtie-pool"] == "owned"


def test_no_pool_at_all_is_said_with_its_reasons(own, stubs):
    router, admin = own
    for pool in ("owned", "cloud"):
        admin.DrainPool(stubs.admin_pb.DrainPoolRequest(pool=pool), timeout=10)
    with client(router) as sdk, pytest.raises(Exception) as caught:
        sdk.chat.completions.create(model="chat", messages=SAY)
    assert caught.value.status_code == 503
    assert "owned" in caught.value.message
    assert "drained" in caught.value.message


def test_an_unknown_pool_names_the_nearest(admin, stubs):
    with pytest.raises(grpc.RpcError) as caught:
        admin.DrainPool(stubs.admin_pb.DrainPoolRequest(pool="ownd"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "owned" in caught.value.details()


def test_watchers_hear_of_a_drain(own, stubs):
    _, admin = own
    pb = stubs.admin_pb
    watch = admin.WatchPools(pb.WatchPoolsRequest(), timeout=20)
    assert not any(pool.drained for pool in next(watch).pools)
    admin.DrainPool(pb.DrainPoolRequest(pool="owned"), timeout=10)
    for seen in watch:
        if any(pool.drained for pool in seen.pools):
            break
    else:
        pytest.fail("the watch ended without the drain")
    watch.cancel()


def test_readiness_liveness_and_metrics_are_on_the_admin_listener(router):
    assert get(router.admin, "/readyz")[0] == 200
    assert get(router.admin, "/livez")[0] == 200
    assert "gridtie_calls_open" in router.metrics()
    assert get(router.http, "/metrics")[0] == 404, "data and operation do not share a door"


def test_metrics_count_calls_and_money(own):
    router, _ = own
    with client(router) as sdk:
        sdk.chat.completions.create(
            model="chat", messages=SAY, max_tokens=3, extra_headers={"x-gridtie-pools": "cloud"}
        )
    assert router.metric("gridtie_calls_total", model="chat") == 1
    assert router.metric("gridtie_attempts_total", pool="cloud", result="ok") == 1
