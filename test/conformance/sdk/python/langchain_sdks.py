"""LangChain's chat models, each over the SDK of its vendor."""

from common import object_schema, turn
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI


class Conversation:
    def __init__(self, model, terms):
        self.terms, self.messages = terms, []
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool["name"],
                    "description": tool["description"],
                    "parameters": object_schema(tool["parameters"]),
                },
            }
            for tool in terms.get("tools", [])
        ]
        self.model = model.bind_tools(tools) if tools else model

    def say(self, parts):
        content = [
            {"type": "text", "text": part["text"]} if "text" in part else {"type": "image_url", "image_url": {"url": part["image"]}}
            for part in parts
        ]
        self.messages.append(HumanMessage(content=content))
        return self.ask()

    def answer_calls(self, results):
        for call, result in zip(self.messages[-1].tool_calls, results, strict=True):
            self.messages.append(ToolMessage(content=result, tool_call_id=call["id"], name=call["name"]))
        return self.ask()

    def ask(self):
        if self.terms["stream"]:
            message = None
            for chunk in self.model.stream(self.messages):
                message = chunk if message is None else message + chunk
        else:
            message = self.model.invoke(self.messages)
        self.messages.append(message)
        usage = message.usage_metadata
        return turn(
            str(message.text),
            [(call["name"], call["args"]) for call in message.tool_calls],
            input_tokens=usage["input_tokens"] if usage else None,
            output_tokens=usage["output_tokens"] if usage else None,
        )


class Client:
    def __init__(self, make):
        self.make = make

    def converse(self, terms):
        return Conversation(self.make(terms["model"]), terms)


SDKS = {
    "openai": lambda url, key: Client(
        lambda model: ChatOpenAI(model=model, api_key=key, base_url=f"{url}/v1", max_retries=0, stream_usage=True)
    ),
    "responses": lambda url, key: Client(
        lambda model: ChatOpenAI(
            model=model,
            api_key=key,
            base_url=f"{url}/v1",
            max_retries=0,
            use_responses_api=True,
            store=False,
            include=["reasoning.encrypted_content"],
        )
    ),
    "anthropic": lambda url, key: Client(
        lambda model: ChatAnthropic(model=model, api_key=key, base_url=url, max_retries=0, max_tokens=4096)
    ),
    "google": lambda url, key: Client(
        lambda model: ChatGoogleGenerativeAI(model=model, google_api_key=key, base_url=f"{url}/genai", max_retries=1)
    ),
}
