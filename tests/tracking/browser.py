"""A headless Chromium, driven by its DevTools protocol over a pipe: no driver, no library, no open port.

with browser(tmp_path) as page:
    page.open("http://127.0.0.1:5000/")
    page.wait_for("Experiments")
    page.screenshot(tmp_path / "page.png")
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The browser's program: EXPKIT_TEST_BROWSER, or the first of the usual names on the PATH."""
    return os.environ.get("EXPKIT_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab. Commands are JSON objects that end in a zero byte, as are answers and events."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        closed = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=closed)  # MLflow's assistant hides half of a page

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; events that come meanwhile are dropped."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")  # else a change behind the # would load nothing
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait_for(self, *words: str, timeout: float = 40.0) -> str:
        """The page's text once it holds all of `words`."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text()
            missing = [word for word in words if word not in text]
            if not missing:
                return text
            assert time.monotonic() < deadline, f"{missing} did not appear; the page says:\n{text}"
            time.sleep(0.1)

    def wait_until(self, script: str, timeout: float = 40.0) -> Any:
        """The first true value of a JavaScript expression."""
        deadline = time.monotonic() + timeout
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script} did not come true; the page says:\n{self.text()}"
            time.sleep(0.1)
        return value

    def click(self, text: str) -> None:
        """Click on the innermost element that reads `text`, as a mouse does."""
        everything = "[...document.querySelectorAll('body *')]"
        self.press(f"{everything}.filter(e => e.innerText?.trim() === {json.dumps(text)}).pop()")

    def press(self, element: str) -> None:
        """Click in the middle of the element that a JavaScript expression finds."""
        box = self.wait_until(
            f"(e => {{ if (!e) return null; const b = e.getBoundingClientRect();"
            f" return b.width ? [b.x + b.width / 2, b.y + b.height / 2] : null }})({element})"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path, width: int = 1400, height: int = 900) -> Iterator[Page]:
    """A browser for the time of the context; `profile` is a folder for what it keeps."""
    program = find()
    assert program is not None, "no browser"
    reads, commands = os.pipe()
    answers, writes = os.pipe()
    arguments = [
        program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
        "--disable-gpu", "--no-sandbox", "--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars",
        f"--window-size={width},{height}",
    ]  # fmt: skip
    # The protocol wants descriptors 3 and 4; the shell moves ours there.
    line = 'exec "$@" 3<&$READS 4>&$WRITES'
    process = subprocess.Popen(
        ["bash", "-c", line.replace("$READS", str(reads)).replace("$WRITES", str(writes)), "browser", *arguments],
        pass_fds=(reads, writes), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(reads)
    os.close(writes)
    try:
        yield Page(commands, answers)
    finally:
        process.terminate()
        process.wait(20)
        os.close(commands)
        os.close(answers)
