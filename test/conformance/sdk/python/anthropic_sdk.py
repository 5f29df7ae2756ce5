"""Anthropic's SDK and Messages."""

from anthropic import Anthropic
from common import data_of, object_schema, turn

# Each request must have a limit.
MAX_TOKENS = 4096


def content_block(part):
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    data = data_of(part["image"])
    if data is None:
        return {"type": "image", "source": {"type": "url", "url": part["image"]}}
    return {"type": "image", "source": {"type": "base64", "media_type": data[0], "data": data[1]}}


class MessagesConversation:
    def __init__(self, anthropic, terms):
        self.anthropic, self.terms, self.messages, self.called = anthropic, terms, [], []

    def say(self, parts):
        self.messages.append({"role": "user", "content": [content_block(part) for part in parts]})
        return self.ask()

    def answer_calls(self, results):
        content = [
            {"type": "tool_result", "tool_use_id": id, "content": result} for id, result in zip(self.called, results, strict=True)
        ]
        self.messages.append({"role": "user", "content": content})
        return self.ask()

    def leave(self, text):
        self.messages.append({"role": "user", "content": text})
        with self.anthropic.messages.stream(**self.body()) as stream:
            for _ in stream.text_stream:
                return

    def ask(self):
        if self.terms["stream"]:
            with self.anthropic.messages.stream(**self.body()) as stream:
                message = stream.get_final_message()
        else:
            message = self.anthropic.messages.create(**self.body())
        self.messages.append({"role": "assistant", "content": message.content})
        calls = [block for block in message.content if block.type == "tool_use"]
        self.called = [call.id for call in calls]
        return turn(
            "".join(block.text for block in message.content if block.type == "text"),
            [(call.name, call.input) for call in calls],
            message.stop_reason,
            message.usage.input_tokens,
            message.usage.output_tokens,
            message.model,
        )

    def body(self):
        terms = self.terms
        body = {
            "model": terms["model"],
            "max_tokens": terms.get("maxOutputTokens", MAX_TOKENS),
            "messages": list(self.messages),
        }
        output = {}
        if "tools" in terms:
            body["tools"] = [
                {"name": tool["name"], "description": tool["description"], "input_schema": object_schema(tool["parameters"])}
                for tool in terms["tools"]
            ]
        if terms.get("thinks"):
            body["thinking"] = {"type": "adaptive"}
            output["effort"] = "low"
        if "json" in terms:
            output["format"] = {"type": "json_schema", "schema": object_schema(terms["json"])}
        if output:
            body["output_config"] = output
        return body


class Client:
    def __init__(self, url, key):
        self.anthropic = Anthropic(base_url=url, api_key=key, max_retries=0)

    def converse(self, terms):
        return MessagesConversation(self.anthropic, terms)

    def models(self):
        return [model.id for model in self.anthropic.models.list()]

    def count_tokens(self, model, text):
        return self.anthropic.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}]).input_tokens


SDKS = {"messages": Client}
