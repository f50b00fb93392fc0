"""Headless Chromium, driven through its own DevTools protocol: `async with chromium() as browser: ...`.

Nothing of ours is in between: the browser loads the page as a reader's would, and what a test reads is the page's
document. What a page writes to its console as an error, every refused resource and every breach of its content
security policy among it, is kept in `Page.errors`. Source: the DevTools protocol, domains Target, Page, Runtime, Log,
Network, Emulation.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

START_S = 30.0
CALL_S = 30.0
CLICKS_MAX = 5
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

# Without the ones about the background, a browser on a closed network fails to reach its maker many times a minute.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


def executable() -> str | None:
    """Return Chromium's path, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class PageError(Exception):
    """The browser refused a command, or a script in the page threw."""


@dataclass(slots=True)
class Page:
    """One tab."""

    _socket: aiohttp.ClientWebSocketResponse
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    errors: list[str] = field(default_factory=list)
    _answering: dict[str, Callable[[Any], Awaitable[Any]]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def answer(self, name: str, handler: Callable[[Any], Awaitable[Any]]) -> None:
        """Give every document from now on a function of this name, which `handler` answers in this process.

        It takes one value and returns a promise; what `handler` raises rejects it, with the exception's first argument.
        """
        self._answering[name] = handler
        await self.command("Runtime.addBinding", name=f"{name}Asked")
        await self.command(
            "Page.addScriptToEvaluateOnNewDocument",
            source=f"""(() => {{ const open = new Map(); let last = 0;
            window.{name} = (value) => new Promise((done, failed) => {{
                open.set(++last, [done, failed]); {name}Asked(JSON.stringify([last, value])); }});
            window.{name}Answered = (number, right, value) => {{
                open.get(number)[right ? 0 : 1](value); open.delete(number); }}; }})()""",
        )

    async def _answer_one(self, name: str, number: int, value: Any) -> None:
        try:
            right, said = True, await self._answering[name](value)
        except Exception as error:  # whatever it is, the page is told
            right, said = False, error.args[0] if error.args else str(error)
        words = ", ".join(json.dumps(one) for one in (number, right, said))
        with contextlib.suppress(PageError):  # a page that has gone needs no answer
            await self.evaluate(f"window.{name}Answered({words})")

    async def command(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(answer, CALL_S)
        if "error" in said:
            raise PageError(f"{method}: {said['error']}")
        return said["result"]  # type: ignore[no-any-return]

    async def open(self, url: str) -> None:
        """Load an address and wait until its document is read."""
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page, awaited if it is a promise."""
        said = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise PageError(f"{script}: {json.dumps(said['exceptionDetails'])[:500]}")
        return said["result"].get("value")

    async def until(self, script: str, *, timeout_s: float = 45.0) -> Any:
        """Wait until an expression in the page is true and return its value; raise AssertionError when time is up.

        The page itself looks once a frame, so nothing is missed between two questions from here.
        """
        wait = f"""new Promise((done) => {{
            const end = performance.now() + {timeout_s * 1000};
            const look = () => {{
                let value; try {{ value = ({script}); }} catch (error) {{ value = undefined; }}
                if (value || performance.now() > end) done(value ?? null);
                else requestAnimationFrame(look);
            }};
            look();
        }})"""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(PageError, TimeoutError):  # a page that is just being replaced
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.1) + 1):
                    value = await self.evaluate(wait)
                if value:
                    return value
            await asyncio.sleep(0.02)
        text = await self.evaluate("document.body.innerText.slice(0, 2000)")
        raise AssertionError(f"not within {timeout_s} s: {script}\n{text}\nerrors: {self.errors}")

    async def click(self, selector: str) -> None:
        """Click on the middle of an element, as a mouse does, and again where the page moved it away meanwhile."""
        for _ in range(CLICKS_MAX):
            where = await self._aim(selector)
            for kind in ("mousePressed", "mouseReleased"):
                await self.command(
                    "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1
                )
            if await self.evaluate("window.wasHit") in (True, None):  # None: the click led to another page
                return
        raise AssertionError(f"{selector} was not hit in {CLICKS_MAX} clicks")

    async def _aim(self, selector: str) -> list[float]:
        """Return the middle of an element once it has stood still for three frames; note what the next click hits."""
        wanted = json.dumps(selector)
        found: list[float] = await self.evaluate(
            f"""new Promise((done) => {{ const e = document.querySelector({wanted});
            window.wasHit = false;
            const note = (event) => {{ window.wasHit = event.target.closest({wanted}) !== null; }};
            document.addEventListener('click', note, {{capture: true, once: true}});
            let before = '', still = 0;
            const look = () => {{
                e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();
                const now = `${{r.x}} ${{r.y}} ${{r.width}}`;
                still = now === before ? still + 1 : 0; before = now;
                if (still < 3) requestAnimationFrame(look);
                else done([r.x + r.width / 2, r.y + r.height / 2]);
            }};
            look(); }})"""
        )
        return found

    async def press(self, key: str, code: int) -> None:
        """Press one key, by its name and its Windows code."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def write(self, text: str) -> None:
        """Write text where the focus is."""
        await self.command("Input.insertText", text=text)

    async def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the size of the window in CSS pixels."""
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    async def dark(self, wanted: bool) -> None:
        """Prefer dark or light colors."""
        value = "dark" if wanted else "light"
        await self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    async def screenshot(self, path: Path) -> None:
        """Write what the window shows to a PNG file."""
        shot = await self.command("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"], None)
                if answer is not None and not answer.done():
                    answer.set_result(said)
                continue
            params = said.get("params", {})
            if said["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"])[:500])
            elif said["method"] == "Runtime.bindingCalled":
                number, value = json.loads(params["payload"])
                task = asyncio.create_task(self._answer_one(params["name"].removesuffix("Asked"), number, value))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif said["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                self.errors.append(json.dumps(params["args"])[:500])
            elif said["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@contextlib.asynccontextmanager
async def chromium(*, width: int = 1400, height: int = 900) -> AsyncIterator[Page]:
    """Start a browser with an empty profile, give its one tab, and end it."""
    path = executable()
    assert path is not None, "Chromium is not installed: apt-get install chromium"
    with tempfile.TemporaryDirectory(prefix="perpmesh-chromium-", ignore_cleanup_errors=True) as profile:
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        process = await asyncio.create_subprocess_exec(
            path,
            *FLAGS,
            *root,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "about:blank",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(process, Path(profile))
            async with aiohttp.ClientSession() as session:
                address = await _tab(session, port)
                async with session.ws_connect(address, max_msg_size=MESSAGE_BYTES_MAX) as socket:
                    page = Page(socket)
                    reader = asyncio.create_task(page._read())
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await page.command(f"{domain}.enable")
                    await page.size(width, height)
                    try:
                        yield page
                    finally:
                        reader.cancel()
                        await asyncio.gather(reader, return_exceptions=True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _port(process: asyncio.subprocess.Process, profile: Path) -> int:
    """Wait for the port that the browser chose."""
    deadline = time.monotonic() + START_S
    file = profile / "DevToolsActivePort"
    while time.monotonic() < deadline:
        assert process.returncode is None, f"Chromium ended with {process.returncode} before it was ready"
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        await asyncio.sleep(0.02)
    raise AssertionError(f"Chromium was not ready after {START_S} s")


async def _tab(session: aiohttp.ClientSession, port: int) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
            for target in await response.json(content_type=None):
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)
    raise AssertionError(f"Chromium had no tab after {START_S} s")
