"""A page in headless Chromium, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any


def opened(page: str, driver: str, folder: Path) -> Any:
    """Open a page with one more script, which says one value: `console.log("driven " + JSON.stringify(value))`.

    Returns the value. Fails if the page says anything else on the console.
    """
    own = base64.b64encode(hashlib.sha256(driver.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{own}' ", 1)
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"<script>{driver}</script></body>"), encoding="utf8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=3000", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1, f"the page said something of its own, or nothing: {console}"
    return json.loads(console[0].partition('"driven ')[2].rpartition('", source')[0])
