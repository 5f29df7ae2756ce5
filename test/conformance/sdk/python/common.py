"""What the libraries' files share: schemas, images, and the shape of a turn."""

import re


def object_schema(names):
    """The JSON schema of an object of texts, all of them required."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


def data_of(url):
    """The media type and base64 text of a data URL; None for another URL."""
    found = re.fullmatch(r"data:([^;,]+);base64,(.*)", url, re.S)
    return found.groups() if found else None


def turn(text, calls, finish="", input_tokens=None, output_tokens=None, model=""):
    """An answer; calls are pairs of a name and a dict."""
    return {
        "text": text,
        "calls": [{"name": name, "arguments": arguments} for name, arguments in calls],
        "finish": finish,
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "model": model,
    }
