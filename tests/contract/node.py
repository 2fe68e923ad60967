"""Scripts that run in Node.js, as browsers and Segment run theirs."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js on the PATH")


def run_node(script: Path, task: Mapping[str, Any]) -> Any:
    """What a script reports (task.mjs)."""
    done = subprocess.run(
        ["node", str(script)], input=json.dumps(task), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
