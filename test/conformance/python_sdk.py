"""The official Python SDK against one region: run with base URL and key; prints one line a check and fails on the first that does not hold."""

import sys

from openai import AuthenticationError, NotFoundError, OpenAI

base_url, api_key = sys.argv[1], sys.argv[2]
client = OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
messages = [{"role": "user", "content": "Name a colour."}]


def check(name: str, holds: bool) -> None:
    if not holds:
        sys.exit(f"does not hold: {name}")
    print(f"ok: {name}")


answer = client.chat.completions.create(model="gpt-5.4-mini", messages=messages)
text = answer.choices[0].message.content
check("chat", bool(text) and answer.usage.cost_usd > 0)

chunks = list(client.chat.completions.create(model="gpt-5.4-mini", messages=messages, stream=True))
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
check("stream", streamed == text and all(chunk.usage is None for chunk in chunks))

chunks = list(
    client.chat.completions.create(
        model="gpt-5.4-mini", messages=messages, stream=True, stream_options={"include_usage": True}
    )
)
check("stream with usage", chunks[-1].choices == [] and chunks[-1].usage.cost_usd > 0)

tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
question = [{"role": "user", "content": "What is the weather in Rome?"}]
first = client.chat.completions.create(model="gpt-5.4-mini", messages=question, tools=[tool])
call = first.choices[0].message.tool_calls[0]
check("tool call", call.function.name == "get_weather")
second = client.chat.completions.create(
    model="gpt-5.4-mini",
    messages=question + [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "23 degrees"}],
    tools=[tool],
)
check("tool result", "23" in second.choices[0].message.content)

schema = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
typed = client.chat.completions.create(
    model="gpt-5.4-mini",
    messages=messages,
    response_format={"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}},
)
check("json_schema", typed.choices[0].message.content.replace(" ", "") in ('{"ok":true}', '{"ok":false}'))

vectors = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
check("embeddings", len(vectors.data) == 2 and len(vectors.data[0].embedding) == 1536)

check("models", "gpt-5.4" in [model.id for model in client.models.list()])
check("model with a slash", client.models.retrieve("openai/gpt-5.4").id == "gpt-5.4")

try:
    OpenAI(base_url=base_url, api_key="sk-mrd-nonsense", max_retries=0).models.list()
    check("a wrong key is refused", False)
except AuthenticationError:
    check("a wrong key is refused", True)

try:
    client.chat.completions.create(model="gpt-9", messages=messages)
    check("an unknown model is not found", False)
except NotFoundError as error:
    check("an unknown model is not found", error.code == "model_not_found")
