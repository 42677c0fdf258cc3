"""The official OpenAI SDK, unmodified, against pools of simulated engines."""

from __future__ import annotations

import asyncio
import hashlib
import json

import openai
import pydantic
import pytest

import configs
from conftest import client

SAY = [{"role": "user", "content": "What is merit order?"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def text_of(stream) -> tuple[str, list[str], list]:
    """The text of a stream of one choice, why it ended, and the usages in it."""
    text, finishes, usages = "", [], []
    for chunk in stream:
        if chunk.usage:
            usages.append(chunk.usage)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                finishes.append(choice.finish_reason)
    return text, finishes, usages


def test_a_chat_is_answered(sdk):
    answer = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=20)
    assert answer.object == "chat.completion"
    assert answer.model == "chat"
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_chat_is_streamed(sdk):
    chunks = list(sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=20, stream=True))
    assert len(chunks) > 3
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {"chat"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text, finishes, usages = text_of(chunks)
    assert text
    assert len(finishes) == 1
    assert usages == [], "usage is sent to those who asked for it"


def test_a_stream_ends_with_its_usage_when_asked(sdk):
    stream = sdk.chat.completions.create(
        model="chat", messages=SAY, max_tokens=20, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    _, finishes, usages = text_of(chunks)
    assert len(finishes) == 1
    [usage] = usages
    assert chunks[-1].usage == usage
    assert chunks[-1].choices == []
    assert usage.prompt_tokens > 0
    assert 0 < usage.completion_tokens <= 20


def test_a_stream_says_the_same_as_a_whole_answer(sdk):
    whole = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=12, temperature=0, seed=1)
    stream = sdk.chat.completions.create(
        model="chat", messages=SAY, max_tokens=12, temperature=0, seed=1, stream=True
    )
    assert text_of(stream)[0] == whole.choices[0].message.content


def test_max_tokens_cuts_an_answer_and_says_so(sdk):
    answer = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3
    stream = sdk.chat.completions.create(model="chat", messages=SAY, max_completion_tokens=3, stream=True)
    assert text_of(stream)[1] == ["length"]


def test_a_stop_text_ends_an_answer_before_it(sdk):
    whole = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=30, temperature=0)
    words = whole.choices[0].message.content.split()
    stop = words[len(words) // 2]
    cut = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=30, temperature=0, stop=[stop])
    assert cut.choices[0].finish_reason == "stop"
    assert stop not in cut.choices[0].message.content
    stream = sdk.chat.completions.create(
        model="chat", messages=SAY, max_tokens=30, temperature=0, stop=[stop], stream=True
    )
    assert text_of(stream)[:2] == (cut.choices[0].message.content, ["stop"])


def test_a_tool_that_must_be_called_is_called(sdk):
    forced = {"type": "function", "function": {"name": "get_weather"}}
    answer = sdk.chat.completions.create(model="chat", messages=SAY, tools=[WEATHER], tool_choice=forced)
    [choice] = answer.choices
    # OpenAI says "stop" for a tool named by the caller, others "tool_calls".
    assert choice.finish_reason in ("tool_calls", "stop")
    [call] = choice.message.tool_calls
    assert call.id
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_a_streamed_tool_call_comes_together(sdk):
    stream = sdk.chat.completions.create(
        model="chat", messages=SAY, tools=[WEATHER], tool_choice="required", stream=True
    )
    names, identities, arguments, finishes = [], [], "", []
    for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                identities += [call.id] if call.id else []
                names += [call.function.name] if call.function.name else []
                arguments += call.function.arguments or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
    assert names == ["get_weather"]
    assert len(identities) == 1
    assert isinstance(json.loads(arguments)["city"], str)
    assert finishes == ["tool_calls"]


def test_a_tool_that_may_be_called_leaves_the_choice_to_the_model(sdk):
    answer = sdk.chat.completions.create(
        model="chat", messages=SAY, tools=[WEATHER], tool_choice="auto", max_tokens=20
    )
    [choice] = answer.choices
    assert bool(choice.message.tool_calls) == (choice.finish_reason == "tool_calls")
    assert choice.message.tool_calls or choice.message.content


def test_a_tool_result_is_taken(sdk):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    turns = [
        *SAY,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    answer = sdk.chat.completions.create(model="chat", messages=turns, tools=[WEATHER], max_tokens=10)
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_two_choices_are_two_choices(sdk):
    answer = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=5, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)
    finishes = {}
    for chunk in sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=5, n=2, stream=True):
        finishes |= {choice.index: choice.finish_reason for choice in chunk.choices if choice.finish_reason}
    assert sorted(finishes) == [0, 1]


def test_log_probabilities_come_with_every_token(sdk):
    answer = sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=5, logprobs=True, top_logprobs=2)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


class City(pydantic.BaseModel):
    """What a structured answer is read as."""

    name: str
    population: int
    harbour: bool
    districts: list[str]


def test_a_schema_is_kept(sdk):
    answer = sdk.chat.completions.parse(model="chat", messages=SAY, response_format=City)
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, City)


def test_a_json_object_is_one(sdk):
    answer = sdk.chat.completions.create(
        model="chat", messages=SAY, response_format={"type": "json_object"}, max_tokens=200
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_prompt_is_continued(sdk):
    answer = sdk.completions.create(model="chat", prompt="Once upon a time", max_tokens=10)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 10
    stream = sdk.completions.create(model="chat", prompt="Once upon a time", max_tokens=10, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] != []


def test_every_prompt_of_a_list_is_continued(sdk):
    answer = sdk.completions.create(model="chat", prompt=["One", "Two", "Three"], max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_vectors_are_the_same_in_base64_and_in_decimals(sdk):
    # The SDK asks for base64 by itself and decodes it.
    packed = sdk.embeddings.create(model="embed", input=["a river", "a mountain"])
    spelt = sdk.embeddings.create(model="embed", input=["a river", "a mountain"], encoding_format="float")
    assert [item.index for item in packed.data] == [0, 1]
    assert packed.usage.prompt_tokens > 0
    for one, other in zip(packed.data, spelt.data, strict=True):
        assert len(one.embedding) > 8
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding


def test_models_are_listed_and_found(sdk):
    names = [model.id for model in sdk.models.list()]
    assert {"chat", "embed"} <= set(names)
    assert sdk.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("no-such-model")


def test_an_alias_is_a_name(sdk):
    answer = sdk.chat.completions.create(model="chat-latest", messages=SAY, max_tokens=3)
    assert answer.choices[0].message.content


def test_an_unknown_model_names_the_nearest(sdk):
    with pytest.raises(openai.NotFoundError, match="`chat`") as caught:
        sdk.chat.completions.create(model="chatt", messages=SAY)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_field_is_named(sdk, wrong, field):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**({"model": "chat", "messages": SAY} | wrong))
    assert caught.value.param == field
    assert caught.value.type == "invalid_request_error"


def test_a_wrong_hint_is_named(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="chat", messages=SAY, extra_headers={"x-gridtie-class": "urgent"})
    assert "urgent" in caught.value.message


def test_an_answer_says_what_happened(sdk):
    raw = sdk.chat.completions.with_raw_response.create(model="chat", messages=SAY, max_tokens=5)
    assert len(raw.headers["x-gridtie-call"]) == 16
    assert raw.headers["x-gridtie-pool"] in ("owned", "cloud")
    assert raw.headers["x-gridtie-attempts"] == "1"
    assert float(raw.headers["x-gridtie-cost-usd"]) >= 0
    assert raw.headers["x-gridtie-reason"]
    assert raw.parse().choices[0].message.content


def test_hints_choose_the_pool(sdk):
    for pool, region in [("owned", "here"), ("cloud", "there")]:
        for header in ({"x-gridtie-pools": pool}, {"x-gridtie-regions": region}):
            raw = sdk.chat.completions.with_raw_response.create(
                model="chat", messages=SAY, max_tokens=3, extra_headers=header
            )
            assert raw.headers["x-gridtie-pool"] == pool
            cost = float(raw.headers["x-gridtie-cost-usd"])
            assert (cost > 0) == (pool == "cloud"), "owned capacity is free at the margin, metered is not"


def test_keys_are_demanded_where_they_are_configured(start):
    key = "gtk_" + "5e" * 32
    digest = hashlib.sha256(key.encode()).hexdigest()
    auth = f"""
[auth]
[[auth.key]]
tenant = "team-a"
hash = "sha256:{digest}"
"""
    router = start(auth + configs.TWO_POOLS)
    for wrong in ("gtk_" + "5f" * 32, "x", digest):
        with client(router, api_key=wrong) as sdk, pytest.raises(openai.AuthenticationError) as caught:
            sdk.chat.completions.create(model="chat", messages=SAY)
        assert caught.value.code == "invalid_api_key"
        assert wrong not in caught.value.message or len(wrong) == 1
        with client(router, api_key=wrong) as sdk, pytest.raises(openai.AuthenticationError):
            sdk.models.list()
    with client(router, api_key=key) as sdk:
        assert sdk.chat.completions.create(model="chat", messages=SAY, max_tokens=3).choices
    assert key not in router.said()


def test_fifty_streams_at_once_are_each_whole(router):
    async def one(sdk: openai.AsyncOpenAI, number: int) -> tuple[str, list[str]]:
        turns = [{"role": "user", "content": f"Say something about {number}."}]
        text, finishes = "", []
        stream = await sdk.chat.completions.create(model="chat", messages=turns, max_tokens=20, stream=True)
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finishes += [choice.finish_reason] if choice.finish_reason else []
        return text, finishes

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=30) as sdk:
            return await asyncio.gather(*(one(sdk, number) for number in range(50)))

    answers = asyncio.run(all_of_them())
    assert len(answers) == 50
    assert all(text and len(finishes) == 1 for text, finishes in answers)
