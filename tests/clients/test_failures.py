"""Upstreams that fail in every way they know: before the first content the client does not notice, after it the client is
told, and never does half an answer look like a whole one."""

from __future__ import annotations

import http.client
import json
import threading

import openai
import pytest

import configs
import upstream
from conftest import client
from processes import free_port, until
from upstream import WORDS, Fake

SAY = [{"role": "user", "content": "Hello."}]
ANSWER = "".join(WORDS)

# What an upstream may do to any call before there is content.
BEFORE = {
    "500": upstream.status(500),
    "503": upstream.status(503, "overloaded_error", retry_after="1"),
    "529": upstream.status(529, "overloaded_error"),
    "429": upstream.status(429, "rate_limit_error", retry_after="30"),
    "quota": upstream.status(402, "insufficient_quota"),
    "our key": upstream.status(401, "authentication_error"),
    "model gone": upstream.status(404, "not_found_error"),
    "web page": upstream.web_page,
    "half a body": upstream.not_json,
    "reset": upstream.reset_at_once,
}

# What it may do to a stream only.
BEFORE_IN_STREAM = {
    "ends": upstream.ends_before_content,
    "says so": upstream.fails_before_content,
}

# What it may do to a stream that has begun.
AFTER = {
    "cut": upstream.cut_after(3),
    "clean end without an end": upstream.ends_after(3),
    "says so": upstream.fails_after(3),
    "garbage": upstream.garbles_after(3, times=3),
}


@pytest.fixture
def pair(start):
    """A router that asks `first` before `second`, and the two upstreams."""
    with Fake() as first, Fake() as second:
        pools = configs.openai("first", [first.port], order=1) + configs.openai("second", [second.port], order=2)
        yield start(configs.ORDERED + configs.CHAT + pools), first, second


@pytest.fixture
def alone(start):
    """A router with one upstream, and the upstream."""
    with Fake() as only:
        yield start(configs.ORDERED + configs.CHAT + configs.openai("only", [only.port])), only


def read(stream) -> tuple[str, list[str]]:
    text, finishes = "", []
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
    return text, finishes


def raw_stream(router) -> bytes:
    """The body of a streamed answer as it comes over the wire."""
    connection = http.client.HTTPConnection("127.0.0.1", router.http, timeout=20)
    body = json.dumps({"model": "chat", "messages": SAY, "stream": True})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    try:
        return response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("fault", BEFORE)
def test_a_call_goes_elsewhere_when_its_upstream_fails(pair, fault):
    router, first, second = pair
    first.behave = BEFORE[fault]
    with client(router) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(model="chat", messages=SAY)
    assert raw.parse().choices[0].message.content == ANSWER
    assert raw.headers["x-gridtie-pool"] == "second"
    assert raw.headers["x-gridtie-attempts"] == "2"
    assert (len(first.seen), len(second.seen)) == (1, 1)


@pytest.mark.parametrize("fault", BEFORE | BEFORE_IN_STREAM)
def test_a_stream_goes_elsewhere_when_its_upstream_fails_before_content(pair, fault):
    router, first, second = pair
    first.behave = (BEFORE | BEFORE_IN_STREAM)[fault]
    with client(router) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(model="chat", messages=SAY, stream=True)
        assert read(raw.parse()) == (ANSWER, ["stop"])
    assert raw.headers["x-gridtie-pool"] == "second"
    assert raw.headers["x-gridtie-attempts"] == "2"
    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_a_call_goes_elsewhere_when_nobody_listens(start):
    with Fake() as second:
        pools = configs.openai("first", [free_port()], order=1) + configs.openai("second", [second.port], order=2)
        router = start(configs.ORDERED + configs.CHAT + pools)
        with client(router) as sdk:
            raw = sdk.chat.completions.with_raw_response.create(model="chat", messages=SAY)
    assert raw.parse().choices[0].message.content == ANSWER
    assert raw.headers["x-gridtie-pool"] == "second"


@pytest.mark.parametrize("fault", AFTER)
def test_a_stream_that_breaks_raises_and_never_looks_whole(pair, fault):
    router, first, second = pair
    first.behave = AFTER[fault]
    text, finishes = "", []
    with client(router) as sdk, pytest.raises(openai.APIError) as caught:
        for chunk in sdk.chat.completions.create(model="chat", messages=SAY, stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finishes += [choice.finish_reason] if choice.finish_reason else []
    assert "".join(WORDS[:3]) == text, caught.value
    assert finishes == []
    assert "not whole" in caught.value.message
    assert second.seen == [], "what was begun is not begun again elsewhere"


@pytest.mark.parametrize("fault", AFTER)
def test_a_stream_that_breaks_says_so_on_the_wire(alone, fault):
    router, only = alone
    only.behave = AFTER[fault]
    body = raw_stream(router)
    assert b"[DONE]" not in body
    assert b'"finish_reason":"' not in body.replace(b" ", b"")
    last = [line for line in body.split(b"\n") if line.startswith(b"data:")][-1]
    error = json.loads(last.removeprefix(b"data:"))["error"]
    assert error["code"] == "stream_interrupted"
    assert error["tokens_delivered"] == 3


def test_an_event_that_no_sdk_could_read_is_not_passed_on(alone):
    router, only = alone
    only.behave = upstream.garbles_after(3, times=1)
    with client(router) as sdk:
        assert read(sdk.chat.completions.create(model="chat", messages=SAY, stream=True)) == (ANSWER, ["stop"])


def test_a_whole_stream_ends_with_its_end(alone):
    router, _ = alone
    assert raw_stream(router).rstrip().endswith(b"data: [DONE]")


def test_a_wrong_request_is_not_tried_elsewhere(pair):
    router, first, second = pair
    first.behave = upstream.status(400, "invalid_request_error")
    with client(router) as sdk, pytest.raises(openai.BadRequestError, match="the fake says no"):
        sdk.chat.completions.create(model="chat", messages=SAY)
    assert (len(first.seen), len(second.seen)) == (1, 0)


def test_a_providers_refusal_of_our_key_is_not_the_clients(alone):
    router, only = alone
    only.behave = upstream.status(401, "authentication_error")
    with client(router) as sdk, pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="chat", messages=SAY)
    assert caught.value.status_code >= 500


def test_a_client_does_not_multiply_attempts_by_its_own_retries(alone):
    router, only = alone
    only.behave = upstream.status(500)
    with client(router, max_retries=2) as sdk, pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model="chat", messages=SAY)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert router.metric("gridtie_calls_total") == 1


def test_the_key_of_a_provider_goes_to_it_and_a_clients_key_does_not(start):
    with Fake() as only:
        keyed = configs.openai("only", [only.port], extra='key = "env:PROVIDER_KEY"')
        router = start(configs.CHAT + keyed, PROVIDER_KEY="sk-canary-of-the-provider")
        with client(router, api_key="canary-of-the-client") as sdk:
            sdk.chat.completions.create(model="chat", messages=SAY)
    [seen] = only.seen
    assert seen.headers["authorization"] == "Bearer sk-canary-of-the-provider"
    assert "canary-of-the-client" not in json.dumps(seen.headers)
    assert "canary" not in router.said()


def test_fields_nobody_knows_reach_an_upstream_of_the_same_dialect(alone):
    router, only = alone
    with client(router) as sdk:
        sdk.chat.completions.create(model="chat", messages=SAY, extra_body={"vendor_knob": {"a": [1, 2]}})
    assert only.seen[0].body["vendor_knob"] == {"a": [1, 2]}
    assert only.seen[0].body["model"] == "chat"


def test_the_upstream_is_told_when_the_client_leaves(alone):
    router, only = alone
    left = threading.Event()

    def talks_until_nobody_listens(exchange: upstream.Exchange):
        try:
            upstream.begin(exchange, 1)
            while not only.released.wait(0.01):
                exchange.event(upstream.chunk({"content": " and"}))
        except OSError:
            left.set()
            raise

    only.behave = talks_until_nobody_listens
    with client(router) as sdk:
        stream = sdk.chat.completions.create(model="chat", messages=SAY, stream=True)
        for count, _ in enumerate(stream):
            if count == 5:
                break
        stream.close()
        assert left.wait(5)
        until(lambda: router.metric("gridtie_calls_open") == 0, "the call is closed")
