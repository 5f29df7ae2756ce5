"""Serves the suites' commands with Python client libraries: one JSON object a line in, one a line out, in order.

{"id", "op": "ping"} · {"id", "op": "connect", "client", "sdk", "url", "key"} · {"id", "op": "converse", "client", "conversation", "terms"} ·
{"id", "op": "say" | "answer_calls" | "leave", "conversation", "value"} · {"id", "op": "models" | "count_tokens" | "embed", "client", …}.
The answer is {"id", "value"}, or {"id", "raised": {"name", "status", "message"}} with what the library raised.
"""

import importlib
import json
import sys


def raised(error):
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return {"name": type(error).__name__, "status": status if isinstance(status, int) else None, "message": str(error)}


def main(module_name):
    sdks = importlib.import_module(module_name).SDKS
    clients = {}
    conversations = {}

    def serve(command):
        op = command["op"]
        if op == "ping":
            return None
        if op == "connect":
            clients[command["client"]] = sdks[command["sdk"]](command["url"], command["key"])
        elif op == "converse":
            conversations[command["conversation"]] = clients[command["client"]].converse(command["terms"])
        elif op == "say":
            return conversations[command["conversation"]].say(command["value"])
        elif op == "answer_calls":
            return conversations[command["conversation"]].answer_calls(command["value"])
        elif op == "leave":
            conversations[command["conversation"]].leave(command["value"])
        elif op == "models":
            return clients[command["client"]].models()
        elif op == "count_tokens":
            return clients[command["client"]].count_tokens(command["model"], command["value"])
        elif op == "embed":
            return clients[command["client"]].embed(command["model"], command["value"])
        else:
            raise ValueError(f"unknown command {op}")
        return None

    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"id": command["id"], "value": serve(command)}
        except Exception as error:  # whatever the library raises is the answer
            answer = {"id": command["id"], "raised": raised(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
