"""Google's SDK and Gemini, by the chats that keep their own history."""

import base64

from common import data_of, object_schema, turn
from google import genai
from google.genai import types


def google_part(part):
    if "text" in part:
        return types.Part.from_text(text=part["text"])
    data = data_of(part["image"])
    if data is None:
        return types.Part.from_uri(file_uri=part["image"], mime_type="image/png")
    return types.Part.from_bytes(data=base64.b64decode(data[1]), mime_type=data[0])


def text_of(chunk):
    """The answer's own words, without its thoughts."""
    content = chunk.candidates[0].content if chunk.candidates else None
    parts = content.parts if content and content.parts else []
    return "".join(part.text for part in parts if part.text and not part.thought)


class Conversation:
    def __init__(self, google, terms):
        self.google, self.terms, self.called = google, terms, []
        self.chat = google.chats.create(model=terms["model"], config=self.config())

    def say(self, parts):
        return self.ask([google_part(part) for part in parts])

    def answer_calls(self, results):
        return self.ask(
            [
                types.Part(function_response=types.FunctionResponse(id=id, name=name, response={"output": result}))
                for (id, name), result in zip(self.called, results, strict=True)
            ]
        )

    def leave(self, text):
        stream = self.google.models.generate_content_stream(model=self.terms["model"], contents=text, config=self.config())
        for chunk in stream:
            if text_of(chunk):
                break
        # Closes the connection under it.
        stream.close()

    def ask(self, message):
        chunks = list(self.chat.send_message_stream(message)) if self.terms["stream"] else [self.chat.send_message(message)]
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
        self.called = [(call.id, call.name) for call in calls]
        usage = next((chunk.usage_metadata for chunk in reversed(chunks) if chunk.usage_metadata), None)
        reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates and chunk.candidates[0].finish_reason]
        return turn(
            "".join(text_of(chunk) for chunk in chunks),
            [(call.name, call.args) for call in calls],
            reasons[-1].value if reasons else "",
            usage.prompt_token_count if usage else None,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0) if usage else None,
            chunks[-1].model_version,
        )

    def config(self):
        terms = self.terms
        config = {}
        if "tools" in terms:
            functions = [
                types.FunctionDeclaration(
                    name=tool["name"],
                    description=tool["description"],
                    parameters_json_schema=object_schema(tool["parameters"]),
                )
                for tool in terms["tools"]
            ]
            config["tools"] = [types.Tool(function_declarations=functions)]
        if terms.get("thinks"):
            config["thinking_config"] = types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)
        if "json" in terms:
            config["response_mime_type"] = "application/json"
            if terms["json"] != "any":
                config["response_json_schema"] = object_schema(terms["json"])
        if "maxOutputTokens" in terms:
            config["max_output_tokens"] = terms["maxOutputTokens"]
        return types.GenerateContentConfig(**config)


class Client:
    def __init__(self, url, key):
        self.google = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=f"{url}/genai"))

    def converse(self, terms):
        return Conversation(self.google, terms)

    def models(self):
        return [model.name.removeprefix("models/") for model in self.google.models.list()]

    def count_tokens(self, model, text):
        return self.google.models.count_tokens(model=model, contents=text).total_tokens

    def embed(self, model, texts):
        return [item.values for item in self.google.models.embed_content(model=model, contents=texts).embeddings]


SDKS = {"gemini": Client}
