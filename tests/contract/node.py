"""Runner of scripts in Node.js, in place of browsers and Segment's functions."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# With CI set no test is skipped, because a missing Node.js must be noticed there.
needs_node = pytest.mark.skipif(
    "CI" not in os.environ and shutil.which("node") is None, reason="needs Node.js on the PATH"
)
needs_packages = pytest.mark.skipif(
    "CI" not in os.environ and not Path(__file__).with_name("node_modules").exists(),
    reason="needs the packages of tests/contract (make test installs them where there is npm)",
)
needs_curl = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")


def run_node(script: Path, task: Mapping[str, Any]) -> Any:
    """Run a script and return its report (task.mjs)."""
    done = subprocess.run(
        ["node", str(script)], input=json.dumps(task), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
