"""The audit's page in a real browser, without a network. Needs root, as the cluster does: it may install Chromium."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.audited_run import make_run
from support.checkouts import say

pytestmark = pytest.mark.cluster

WIDTH, HEIGHT = 1200, 2400


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, from Debian's packages where it is not there."""
    if not shutil.which("chromium"):
        say("installing Chromium (half a minute)")
        for line in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.run(line, check=True, capture_output=True)
    return "chromium"


def opened(browser: str, page: Path, *arguments: str) -> str:
    """What Chromium prints, in a network namespace of its own: nothing can be fetched."""
    line = [
        "unshare",
        "--net",
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page}.profile",
    ]
    line += [f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", *arguments, page.as_uri()]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout


def words(text: str) -> list[str]:
    """The text between tags, word by word."""
    body = re.sub(r"<(style|title|head)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", body)).split()


def test_the_audits_page_is_whole_and_readable_without_a_network(browser: str, tmp_path: Path):
    run = make_run(tmp_path / "project")
    done = run.audit("page")
    assert done.returncode == 0, done.stdout + done.stderr
    page = run / "results/audit/audit.html"
    assert words(opened(browser, page, "--dump-dom")) == words(page.read_text(encoding="utf8"))
    picture = tmp_path / "page.png"
    opened(browser, page, f"--screenshot={picture}")
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (HEIGHT, WIDTH)
    inked = (pixels < 128).mean(axis=1) > 0
    assert inked[: HEIGHT // 4].any() and inked.mean() > 0.1, "text on many lines, from the top on"
    assert (pixels[:, -8:] > 200).all(), "nothing is cut off at the right margin"
