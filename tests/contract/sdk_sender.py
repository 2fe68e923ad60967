"""Script that sends calls with a published Python SDK, without any code of Goalpost in the process.

It takes a JSON object on standard input and prints the result as its last line.
"""

import json
import re
import sys
from importlib import import_module
from typing import Any


def send(task: dict[str, Any]) -> dict[str, Any]:
    """Make every call, and wait until the SDK has delivered all calls or given up."""
    package = f"{task['package']}.analytics"
    errors: list[str] = []
    client = import_module(f"{package}.client").Client(
        task["write_key"],
        host=task["url"],
        gzip=task["gzip"],
        upload_size=task["batch_size"],
        on_error=lambda error, _batch: errors.append(repr(error)),
    )
    for call in task["calls"]:
        given = {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): value for name, value in call.items()}
        getattr(client, given.pop("type"))(**given)
    client.flush()
    client.shutdown()
    return {"version": import_module(f"{package}.version").VERSION, "errors": errors}


if __name__ == "__main__":
    print("\n" + json.dumps(send(json.load(sys.stdin))), flush=True)
