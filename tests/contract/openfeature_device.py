"""Script with a published OpenFeature provider for Python, untouched: Kameleoon's, or that of OFREP.

It takes a task as JSON, and prints the details of one evaluation.
"""

import json
import sys
import time
from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode


def make_provider(task: dict[str, Any]) -> Any:
    if task["provider"] == "ofrep":
        from openfeature.contrib.provider.ofrep import OFREPProvider

        headers = task["headers"]
        return OFREPProvider(task["base"], headers_factory=lambda: headers)
    from kameleoon import KameleoonClientConfig
    from kameleoon_openfeature.kameleoon_provider import KameleoonProvider

    config = KameleoonClientConfig(task["client_id"], task["secret"], network_domain=task["domain"])
    return KameleoonProvider(task["sitecode"], config)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    api.set_provider(make_provider(given))
    context = EvaluationContext(given["visitor"], given["context"])
    for _ in range(100):  # Kameleoon's provider does not wait for the file
        found = api.get_client().get_float_details(given["flag"], given["default"], context)
        if found.error_code != ErrorCode.PROVIDER_NOT_READY:
            break
        time.sleep(0.1)
    print(
        json.dumps(
            {
                "value": found.value,
                "variant": found.variant,
                "reason": found.reason,
                "error": found.error_code,
                "metadata": dict(found.flag_metadata or {}),
            }
        )
    )
