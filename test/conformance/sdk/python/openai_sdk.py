"""OpenAI's SDK: chat completions, and the Responses API without anything kept on the server."""

import json

from common import object_schema, turn
from openai import OpenAI


class ChatConversation:
    def __init__(self, openai, terms):
        self.openai, self.terms, self.messages = openai, terms, []

    def say(self, parts):
        content = [
            {"type": "text", "text": part["text"]} if "text" in part else {"type": "image_url", "image_url": {"url": part["image"]}}
            for part in parts
        ]
        self.messages.append({"role": "user", "content": content})
        return self.ask()

    def answer_calls(self, results):
        for call, result in zip(self.messages[-1].tool_calls, results, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        return self.ask()

    def leave(self, text):
        self.messages.append({"role": "user", "content": text})
        with self.openai.chat.completions.create(**self.body(), stream=True) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    return

    def ask(self):
        if self.terms["stream"]:
            with self.openai.chat.completions.stream(**self.body(), stream_options={"include_usage": True}) as stream:
                completion = stream.get_final_completion()
        else:
            completion = self.openai.chat.completions.create(**self.body())
        choice = completion.choices[0]
        self.messages.append(choice.message)
        return turn(
            choice.message.content or "",
            [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []],
            choice.finish_reason,
            completion.usage.prompt_tokens,
            completion.usage.completion_tokens,
            completion.model,
        )

    def body(self):
        terms = self.terms
        body = {"model": terms["model"], "messages": list(self.messages)}
        if "tools" in terms:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool["name"],
                        "description": tool["description"],
                        "parameters": object_schema(tool["parameters"]),
                        # The streaming helper takes only such tools.
                        "strict": True,
                    },
                }
                for tool in terms["tools"]
            ]
        if terms.get("thinks"):
            body["reasoning_effort"] = "low"
        if terms.get("json") == "any":
            body["response_format"] = {"type": "json_object"}
        elif "json" in terms:
            schema = object_schema(terms["json"])
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
        if "maxOutputTokens" in terms:
            body["max_completion_tokens"] = terms["maxOutputTokens"]
        return body


class ResponsesConversation:
    def __init__(self, openai, terms):
        self.openai, self.terms, self.input, self.called = openai, terms, [], []

    def say(self, parts):
        content = [
            {"type": "input_text", "text": part["text"]}
            if "text" in part
            else {"type": "input_image", "image_url": part["image"], "detail": "auto"}
            for part in parts
        ]
        self.input.append({"role": "user", "content": content})
        return self.ask()

    def answer_calls(self, results):
        for call_id, result in zip(self.called, results, strict=True):
            self.input.append({"type": "function_call_output", "call_id": call_id, "output": result})
        return self.ask()

    def leave(self, text):
        self.input.append({"role": "user", "content": text})
        with self.openai.responses.create(**self.body(), stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    return

    def ask(self):
        if self.terms["stream"]:
            with self.openai.responses.stream(**self.body()) as stream:
                response = stream.get_final_response()
        else:
            response = self.openai.responses.create(**self.body())
        self.input.extend(response.output)
        calls = [item for item in response.output if item.type == "function_call"]
        self.called = [call.call_id for call in calls]
        return turn(
            response.output_text,
            [(call.name, json.loads(call.arguments)) for call in calls],
            response.incomplete_details.reason if response.incomplete_details else response.status,
            response.usage.input_tokens,
            response.usage.output_tokens,
            response.model,
        )

    def body(self):
        terms = self.terms
        body = {
            "model": terms["model"],
            "input": list(self.input),
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
        if "tools" in terms:
            body["tools"] = [
                {
                    "type": "function",
                    "name": tool["name"],
                    "description": tool["description"],
                    "parameters": object_schema(tool["parameters"]),
                    "strict": True,
                }
                for tool in terms["tools"]
            ]
        if terms.get("thinks"):
            body["reasoning"] = {"effort": "low"}
        if terms.get("json") == "any":
            body["text"] = {"format": {"type": "json_object"}}
        elif "json" in terms:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": object_schema(terms["json"])}}
        if "maxOutputTokens" in terms:
            body["max_output_tokens"] = terms["maxOutputTokens"]
        return body


class Client:
    def __init__(self, conversation, url, key):
        self.conversation = conversation
        self.openai = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def converse(self, terms):
        return self.conversation(self.openai, terms)

    def models(self):
        return [model.id for model in self.openai.models.list()]

    def embed(self, model, texts):
        return [item.embedding for item in self.openai.embeddings.create(model=model, input=texts).data]


SDKS = {
    "chat": lambda url, key: Client(ChatConversation, url, key),
    "responses": lambda url, key: Client(ResponsesConversation, url, key),
}
