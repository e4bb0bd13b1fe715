"""The arithmetic of docs/scaling.md: it prints what the page says it prints."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text("utf-8")
TESTED = re.compile(
    r"^<!-- tested -->\n```python\n(.*?)^```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL
)


def test_the_arithmetic_is_what_the_code_says() -> None:
    ((code, printed),) = TESTED.findall(PAGE)
    # In a process of its own, as a reader would run it: it takes the examples by a relative path.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
