"""Two turns over a WebSocket with the official Python SDK, and one that follows nothing: base URL, API key, model."""

import json
import sys

import openai

base_url, api_key, model = sys.argv[1:4]
client = openai.OpenAI(base_url=base_url, api_key=api_key)
told = {}
with client.responses.connect() as connection:

    def turn(**fields):
        connection.response.create(model=model, store=False, **fields)
        for event in connection:
            if event.type in ("response.completed", "response.failed", "response.incomplete", "error"):
                return event
        raise RuntimeError("closed")

    first = turn(input="Tell me about Lisbon.")
    told["first"] = first.response.output_text
    second = turn(input="And about Porto.", previous_response_id=first.response.id)
    told["second"] = second.response.output_text
    told["grows"] = second.response.usage.input_tokens > first.response.usage.input_tokens
    lost = turn(input="And?", previous_response_id="resp_gone")
    error = lost.to_dict()
    told["lost"] = [error["status"], error["error"]["code"]]
print(json.dumps(told))
