"""A headless Chromium, driven over a pipe by its own protocol: no library, no port."""

import base64
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .table import Fail, Skip

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60


class Browser:
    """One tab. What it asks for over the network, and what it complains about, is kept."""

    def __init__(self):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise Skip("no Chromium on this machine")
        self.profile = tempfile.mkdtemp(prefix="countersign-browser-")
        # The browser reads commands from 3 and writes answers to 4.
        command_out, self.write_to = os.pipe()
        self.read_from, answer_in = os.pipe()

        def place():
            high = [os.dup(command_out), os.dup(answer_in)]
            while min(high) < 5:
                high = [os.dup(number) for number in high]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
             "--force-color-profile=srgb", f"--user-data-dir={self.profile}", "--remote-debugging-pipe", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=place,
        )
        os.close(command_out)
        os.close(answer_in)
        self.number, self.session = 0, None
        self.answers, self.events = {}, queue.Queue()
        self.requests, self.complaints = [], []
        self.arrived = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.tell(f"{domain}.enable")

    def _listen(self):
        rest = b""
        while piece := os.read(self.read_from, 1 << 16):
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                self._take(message)
        with self.arrived:
            self.answers = None
            self.arrived.notify_all()

    def _take(self, message):
        if "id" in message:
            with self.arrived:
                self.answers[message["id"]] = message
                self.arrived.notify_all()
            return
        name, about = message["method"], message.get("params", {})
        if name == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif name == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(about["entry"]["text"])
        elif name == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        self.events.put(name)

    def tell(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_to, json.dumps(message).encode() + b"\0")
        with self.arrived:
            there = lambda: self.answers is None or message["id"] in self.answers  # noqa: E731
            if not self.arrived.wait_for(there, PATIENCE) or self.answers is None:
                raise Fail(f"{method}: the browser did not answer")
            answer = self.answers.pop(message["id"])
        if "error" in answer:
            raise Fail(f"{method}: {answer['error']}")
        return answer["result"]

    def loaded(self, action):
        """Does something that loads a page, and waits until it has loaded."""
        while not self.events.empty():
            self.events.get()
        action()
        deadline = time.monotonic() + PATIENCE
        try:
            while self.events.get(timeout=max(0.01, deadline - time.monotonic())) != "Page.loadEventFired":
                pass
        except queue.Empty:
            raise Fail("the page did not load") from None

    def open(self, url):
        self.loaded(lambda: self.tell("Page.navigate", url=url))

    def value(self, expression):
        result = self.tell("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise Fail(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression):
        deadline = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise Fail(f"never came true: {expression}")
            time.sleep(0.02)

    def screen(self, width, height, dark=False):
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def key(self, name, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def drop(self, selector, files):
        """Drops files onto an element, as a hand does."""
        place = self.value(f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
                           "return [r.x + r.width / 2, r.y + r.height / 2] })()")
        data = {"items": [], "files": [str(Path(file).resolve()) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.tell("Input.dispatchDragEvent", type=kind, x=place[0], y=place[1], data=data)

    def picture(self, path, tallest):
        """The whole page, or its upper part."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], tallest), "scale": 1}
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.process.kill()
        self.process.wait(timeout=30)
        shutil.rmtree(self.profile, ignore_errors=True)
