"""llama-index's models over the SDKs of OpenAI and Google. Its model of Anthropic does not work with that SDK's current version."""

from common import turn
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import ToolMetadata
from llama_index.llms.google_genai import GoogleGenAI
from llama_index.llms.openai import OpenAI
from pydantic import create_model


def tool_of(terms):
    schema = create_model(terms["name"], **{name: (str, ...) for name in terms["parameters"]})
    metadata = ToolMetadata(name=terms["name"], description=terms["description"], fn_schema=schema)
    return FunctionTool(fn=lambda **_: "", metadata=metadata)


class Conversation:
    def __init__(self, model, terms):
        self.model, self.terms, self.messages, self.called = model, terms, [], []

    def say(self, parts):
        blocks = [TextBlock(text=part["text"]) if "text" in part else ImageBlock(url=part["image"]) for part in parts]
        self.messages.append(ChatMessage(role=MessageRole.USER, blocks=blocks))
        return self.ask()

    def answer_calls(self, results):
        for call, result in zip(self.called, results, strict=True):
            self.messages.append(
                ChatMessage(
                    role=MessageRole.TOOL,
                    content=result,
                    additional_kwargs={"tool_call_id": call.tool_id, "name": call.tool_name},
                )
            )
        return self.ask()

    def ask(self):
        model, stream = self.model, self.terms["stream"]
        if "tools" in self.terms:
            tools = [tool_of(terms) for terms in self.terms["tools"]]
            call = model.stream_chat_with_tools if stream else model.chat_with_tools
            answer = call(tools, chat_history=self.messages, allow_parallel_tool_calls=True)
        else:
            answer = (model.stream_chat if stream else model.chat)(self.messages)
        if stream:
            *_, answer = answer
        self.messages.append(answer.message)
        self.called = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False) if "tools" in self.terms else []
        return turn(answer.message.content or "", [(call.tool_name, call.tool_kwargs) for call in self.called])


class Client:
    def __init__(self, make):
        self.make = make

    def converse(self, terms):
        return Conversation(self.make(terms["model"]), terms)


SDKS = {
    "openai": lambda url, key: Client(lambda model: OpenAI(model=model, api_key=key, api_base=f"{url}/v1", max_retries=0)),
    "google": lambda url, key: Client(
        lambda model: GoogleGenAI(model=model, api_key=key, http_options={"base_url": f"{url}/genai"}, max_retries=0)
    ),
}
