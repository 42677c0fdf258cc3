"""grpcio with stubs made from proto/: what a typed client in another language sees."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import configs
import upstream
from conftest import channel
from processes import until
from upstream import WORDS, Fake


def ask(pb, model: str = "chat", tokens: int = 20, **more):
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="What is merit order?")])
    fields = {"model": model, "messages": [message], "sampling": pb.Sampling(max_tokens=tokens)}
    return pb.GenerateRequest(**(fields | more))


def details(error: grpc.RpcError) -> dict:
    """The google.rpc messages of an error, by name."""
    status = rpc_status.from_call(error)
    assert status is not None, "an error carries google.rpc details"
    found = {}
    for packed in status.details:
        name = packed.TypeName().removeprefix("google.rpc.")
        found[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(found[name])
    return found


def trailers(error: grpc.RpcError) -> dict[str, str]:
    return {name: value for name, value in error.trailing_metadata() if isinstance(value, str)}


def test_an_answer_comes_in_one_message(inference, stubs):
    answer = inference.Generate(ask(stubs.pb), timeout=20)
    [choice] = answer.choices
    assert "".join(part.text for part in choice.parts)
    assert choice.finish_reason in (stubs.pb.FINISH_REASON_STOP, stubs.pb.FINISH_REASON_LENGTH)
    assert answer.usage.input_tokens > 0
    assert 0 < answer.usage.output_tokens <= 20
    assert answer.routing.pool in ("owned", "cloud")
    assert answer.routing.model == "chat"
    assert answer.routing.attempts == 1
    assert len(answer.routing.call_id) == 16
    assert answer.routing.reason
    assert not answer.routing.cost_estimated


def test_an_answer_comes_in_pieces(inference, stubs):
    events = list(inference.StreamGenerate(ask(stubs.pb), timeout=20))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "completed"
    assert kinds.count("started") == kinds.count("completed") == kinds.count("choice_finished") == 1
    assert "".join(event.delta.text for event in events)
    started, completed = events[0].started.routing, events[-1].completed
    assert started.pool == completed.routing.pool
    assert started.call_id == completed.routing.call_id
    assert completed.usage.output_tokens > 0
    assert not completed.routing.cost_estimated


def test_the_pieces_say_the_same_as_the_whole(inference, stubs):
    sampling = stubs.pb.Sampling(max_tokens=12, seed=1, temperature=0)
    whole = inference.Generate(ask(stubs.pb, sampling=sampling), timeout=20)
    pieces = inference.StreamGenerate(ask(stubs.pb, sampling=sampling), timeout=20)
    text = "".join(event.delta.text for event in pieces)
    assert text == "".join(part.text for part in whole.choices[0].parts)


def test_a_metered_pool_has_its_price(inference, stubs):
    hints = stubs.pb.RoutingHints(pools=["cloud"], traffic_class="agent")
    routing = inference.Generate(ask(stubs.pb, routing=hints), timeout=20).routing
    assert routing.pool == "cloud"
    assert routing.cost_nano_usd > 0
    assert float(routing.cost_usd) == pytest.approx(routing.cost_nano_usd / 1e9)


def test_hints_can_be_metadata(inference, stubs):
    answer = inference.Generate(ask(stubs.pb), timeout=20, metadata=[("x-gridtie-pools", "cloud")])
    assert answer.routing.pool == "cloud"


def test_tools_and_schemas_are_typed(inference, stubs):
    pb = stubs.pb
    tool = pb.Tool(name="get_weather", parameters_json='{"type":"object","properties":{"city":{"type":"string"}}}')
    choice = pb.ToolChoice(tool="get_weather")
    answer = inference.Generate(ask(pb, tools=[tool], tool_choice=choice, tokens=100), timeout=20)
    calls = [part.tool_call for part in answer.choices[0].parts if part.HasField("tool_call")]
    assert [call.name for call in calls] == ["get_weather"]
    assert calls[0].id


def test_texts_become_vectors(inference, stubs):
    pb = stubs.pb
    inputs = [pb.EmbedInput(text="a river"), pb.EmbedInput(text="a mountain")]
    answer = inference.Embed(pb.EmbedRequest(model="embed", inputs=inputs), timeout=20)
    assert len(answer.embeddings) == 2
    assert len(answer.embeddings[0].values) > 8
    assert answer.embeddings[0].values != answer.embeddings[1].values
    assert answer.usage.input_tokens > 0


def test_models_are_listed_with_who_offers_them(inference, stubs):
    models = {model.name: model for model in inference.ListModels(stubs.pb.ListModelsRequest(), timeout=20).models}
    assert set(models) == {"chat", "embed"}
    chat = models["chat"]
    assert list(chat.aliases) == ["chat-latest"]
    assert chat.kind == stubs.pb.ASK_KIND_CHAT
    prices = {offer.pool: offer.prices.input_usd_per_million for offer in chat.offers}
    assert prices == {"owned": 0.0, "cloud": 2.0}


def test_a_call_is_explained_without_being_made(inference, stubs, router):
    before = router.metric("gridtie_attempts_total")
    answer = inference.Explain(stubs.pb.ExplainRequest(model="chat"), timeout=20)
    assert answer.verdict == stubs.pb.ExplainResponse.VERDICT_DISPATCH
    assert {row.pool for row in answer.rows} == {"owned", "cloud"}
    best = answer.rows[0]
    assert answer.pool == best.pool
    assert best.total_usd <= answer.rows[1].total_usd
    for row in answer.rows:
        assert row.total_usd == pytest.approx(sum(term.usd for term in row.terms), abs=1e-12)
    without = inference.Explain(stubs.pb.ExplainRequest(model="chat", without_pools=[best.pool]), timeout=20)
    assert without.pool != best.pool
    assert router.metric("gridtie_attempts_total") == before


def test_an_unknown_model_names_the_nearest(inference, stubs):
    with pytest.raises(grpc.RpcError) as caught:
        inference.Generate(ask(stubs.pb, model="chatt"), timeout=20)
    error = caught.value
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "`chat`" in error.details()
    info = details(error)["ErrorInfo"]
    assert (info.domain, info.reason) == ("gridtie", "MODEL_NOT_FOUND")
    assert len(trailers(error)["x-gridtie-call"]) == 16


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_wrong_field_is_named(inference, stubs, streamed):
    wrong = ask(stubs.pb, sampling=stubs.pb.Sampling(temperature=9))
    with pytest.raises(grpc.RpcError) as caught:
        if streamed:
            list(inference.StreamGenerate(wrong, timeout=20))
        else:
            inference.Generate(wrong, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value)
    assert found["ErrorInfo"].domain == "gridtie"
    [violation] = found["BadRequest"].field_violations
    assert violation.field == "sampling.temperature"
    assert violation.description


def test_an_unknown_class_is_refused_by_its_name(inference, stubs):
    hints = stubs.pb.RoutingHints(traffic_class="urgent")
    with pytest.raises(grpc.RpcError) as caught:
        inference.Generate(ask(stubs.pb, routing=hints), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "urgent" in caught.value.details()


def test_a_failed_pool_is_unavailable_and_not_worth_a_retry(start, stubs):
    with Fake(behave=upstream.status(500)) as only:
        router = start(configs.CHAT + configs.openai("only", [only.port]))
        with channel(router.grpc_target) as connected, pytest.raises(grpc.RpcError) as caught:
            stubs.rpc.InferenceStub(connected).Generate(ask(stubs.pb), timeout=20)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details(caught.value)["ErrorInfo"].reason == "UPSTREAM_ERROR"
    last = trailers(caught.value)
    assert int(last["grpc-retry-pushback-ms"]) < 0
    assert last["x-gridtie-pool"] == "only"
    assert int(last["x-gridtie-attempts"]) >= 1


def test_a_wait_is_told(start, stubs):
    with Fake(behave=upstream.status(429, "rate_limit_error", retry_after="30")) as only:
        router = start(configs.CHAT + configs.openai("only", [only.port]))
        with channel(router.grpc_target) as connected:
            inference = stubs.rpc.InferenceStub(connected)
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as caught:
                    inference.Generate(ask(stubs.pb), timeout=20)
                assert caught.value.code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                )
    # What the upstream said, and up to half as long again, so that not everybody comes back at once.
    retry = details(caught.value)["RetryInfo"].retry_delay
    assert 25 < retry.ToTimedelta().total_seconds() <= 45


def test_a_call_goes_elsewhere_when_its_upstream_fails(start, stubs):
    with Fake(behave=upstream.status(500)) as first, Fake() as second:
        pools = configs.openai("first", [first.port], order=1) + configs.openai("second", [second.port], order=2)
        router = start(configs.ORDERED + configs.CHAT + pools)
        with channel(router.grpc_target) as connected:
            answer = stubs.rpc.InferenceStub(connected).Generate(ask(stubs.pb), timeout=20)
    assert answer.choices[0].parts[0].text == "".join(WORDS)
    assert (answer.routing.pool, answer.routing.attempts) == ("second", 2)


@pytest.mark.parametrize(
    "fault", [upstream.cut_after(3), upstream.ends_after(3), upstream.fails_after(3)], ids=["cut", "ends", "says so"]
)
def test_a_stream_that_breaks_ends_with_an_error(start, stubs, fault):
    with Fake(behave=fault) as only:
        router = start(configs.CHAT + configs.openai("only", [only.port]))
        events = []
        with channel(router.grpc_target) as connected, pytest.raises(grpc.RpcError) as caught:
            for event in stubs.rpc.InferenceStub(connected).StreamGenerate(ask(stubs.pb), timeout=20):
                events.append(event)
    assert "".join(event.delta.text for event in events) == "".join(WORDS[:3])
    assert not any(event.HasField("completed") for event in events)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details(caught.value)["ErrorInfo"].reason == "STREAM_INTERRUPTED"


@pytest.fixture
def waiting(start, stubs):
    """A router whose only upstream says a word and then nothing; and a stub for it."""
    with Fake() as only:
        only.behave = lambda exchange: upstream.silent_after(1, only.released)(exchange)
        router = start(configs.CHAT + configs.openai("only", [only.port]))
        with channel(router.grpc_target) as connected:
            yield router, stubs.rpc.InferenceStub(connected), only


def test_a_deadline_ends_a_call_here_and_there(waiting, stubs):
    router, inference, only = waiting
    with pytest.raises(grpc.RpcError) as caught:
        list(inference.StreamGenerate(ask(stubs.pb), timeout=0.5))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(only.seen) == 1
    until(lambda: router.metric("gridtie_calls_open") == 0, "the call is closed", seconds=5)


def test_a_cancelled_call_ends_here_and_there(waiting, stubs):
    router, inference, _ = waiting
    stream = inference.StreamGenerate(ask(stubs.pb), timeout=30)
    assert next(stream).HasField("started")
    assert router.metric("gridtie_calls_open") == 1
    stream.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() == grpc.StatusCode.CANCELLED
    until(lambda: router.metric("gridtie_calls_open") == 0, "the call is closed", seconds=5)


def test_health_is_served_and_watched(router):
    with channel(router.grpc_target) as connected:
        health = health_pb2_grpc.HealthStub(connected)
        for service in ("", "gridtie.v1.Inference"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(service="gridtie.v1.Inference"), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_says_that_the_router_goes_down(start):
    router = start(configs.TWO_POOLS)
    with channel(router.grpc_target) as connected:
        health = health_pb2_grpc.HealthStub(connected)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        router.child.terminate()
        try:
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        except (grpc.RpcError, StopIteration):
            # A connection that is closed says it as well, and the router may be that fast.
            pass
    assert router.terminate() == 0, router.said()


def test_reflection_lists_the_services(router):
    with channel(router.grpc_target) as connected:
        services = ProtoReflectionDescriptorDatabase(connected).get_services()
    assert {"gridtie.v1.Inference", "grpc.health.v1.Health"} <= set(services)
    assert "gridtie.v1.Admin" not in services, "the operator's service is on the admin listener only"


def test_the_operators_service_is_not_on_the_data_port(router, stubs):
    with channel(router.grpc_target) as connected, pytest.raises(grpc.RpcError) as caught:
        stubs.admin_rpc.AdminStub(connected).ListPools(stubs.admin_pb.ListPoolsRequest(), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
