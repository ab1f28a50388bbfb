"""What one hostile visitor can do to the others, measured against a server of its own.

`python benchmarks/hostile.py` starts `python app.py`, floods the queue, sends pictures that are small files and large
pictures, opens pages and leaves them, breaks uploads off, sends broken pictures to every endpoint, and prints what that
cost. The suite runs the same with smaller numbers (`test_hostile.py`).

The hostile visitor and the others have different addresses: the server takes X-Forwarded-For from a proxy on its own
machine, and this script is one.
"""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from plain_http import LIMIT, META, ROOT, event_id, join, one_bit, outcome, post, sent_by, upload

PICTURE = ROOT / "examples" / "coffee.jpg"
HOSTILE, OTHER = "203.0.113.7", "198.51.100.1"
ALL_FOUR = ["gradcam", "gradcam_plus_plus", "faster_scorecam", "scorecam"]
SHORT_EVENTS = {
    "classify": ["auto", 1],
    "explain": ["gradcam", "", "auto", "", 10, 0.5, "viridis"],
}


@dataclass
class Server:
    """A running `python app.py`: its address, process, folder for uploads and log."""

    url: str
    process: subprocess.Popen
    folder: Path
    log: Path

    def memory(self) -> float:
        """Megabytes of its own that the process holds in memory now: without the files that are mapped into it."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1000
        raise AssertionError("the server has ended")

    def memory_after_rest(self) -> float:
        """The least megabytes that it holds for some seconds after it computes nothing any more: it gives memory back
        every five."""
        self.settle()
        end, least = time.monotonic() + 6, self.memory()
        while time.monotonic() < end:
            time.sleep(0.1)
            least = min(least, self.memory())
        return least

    def on_disk(self) -> float:
        """Megabytes in its folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6

    def event(self, name: str) -> int:
        return event_id(self.url, name)

    def settle(self) -> float:
        """Seconds until the server computes nothing any more: its processor time stands still for a while."""
        begin = time.monotonic()
        before = self._ticks()
        while time.monotonic() - begin < LIMIT:
            time.sleep(0.25)
            now = self._ticks()
            if now - before <= 2:  # hundredths of a second: Gradio polls its queue all the time
                return time.monotonic() - begin
            before = now
        raise AssertionError(f"still busy after {LIMIT} s")

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


@contextmanager
def own_server(**settings: str):
    """A server in a process and with a folder of its own, warm."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        known = {name: value for name, value in os.environ.items() if not name.startswith(("CAMKIT_", "GRADIO_"))}
        known |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": f"{folder}/uploads", "PYTHONUNBUFFERED": "1"}
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env=known | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            server = Server(f"http://127.0.0.1:{port}", process, Path(folder) / "uploads", log)
            end = time.monotonic() + LIMIT
            while "is ready on" not in log.read_text():
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            server.folder = next(path for path in server.folder.glob("camkit-*") if path.is_dir())
            yield server
        finally:
            process.kill()
            process.wait()


def call(server: Server, number: int, data: list, address: str = OTHER, event_data=None) -> dict:
    """One event from start to end: its last message, or what refused it at once."""
    session = uuid.uuid4().hex
    joined = join(server.url, number, data, session, event_data, address)
    if joined.status_code != 200:
        return {"success": False, "output": {"error": joined.json()["detail"]}, "status": joined.status_code}
    return outcome(server.url, session, address)


# --- the attacks ---------------------------------------------------------------------------------------------------


def flood(server: Server, posts: int, rounds: int) -> dict:
    """`posts` requests for a full Score-CAM at once, each of a session of its own whose answers are not read; meanwhile
    another visitor opens the page, classifies and explains, `rounds` times."""
    picture = upload(server.url, PICTURE.read_bytes(), address=HOSTILE)
    own = upload(server.url, PICTURE.read_bytes(), address=OTHER)
    compare, opening = server.event("compare"), server.event("on_open")
    data = [{"path": picture, "meta": META}, ALL_FOUR, "", "auto", "", 10, False]
    numbers = {name: server.event(name) for name in SHORT_EVENTS}
    seconds: dict[str, list[float]] = {"page": [], **{name: [] for name in numbers}}
    refused = 0
    stop = threading.Event()

    def attack(_: int) -> int:
        return 0 if stop.is_set() else join(server.url, compare, data, address=HOSTILE).status_code

    with ThreadPoolExecutor(16) as pool:
        attackers = [pool.submit(attack, number) for number in range(posts)]
        for _ in range(rounds):
            begin = time.monotonic()
            session = uuid.uuid4().hex
            page = httpx.get(server.url, headers=sent_by(OTHER), timeout=LIMIT)
            settings = [None, ALL_FOUR[:2], "efficientnet_lite0", "top_activation", 10, True]
            joined = join(server.url, opening, settings, session, address=OTHER)
            if page.status_code != 200 or joined.status_code != 200:
                refused += 1
                continue
            refused += not outcome(server.url, session, OTHER)["success"]
            seconds["page"].append(time.monotonic() - begin)
            for name, rest in SHORT_EVENTS.items():
                begin = time.monotonic()
                answer = call(server, numbers[name], [{"path": own, "meta": META}, *rest])
                refused += not answer["success"]
                seconds[name].append(time.monotonic() - begin)
        stop.set()
        statuses = Counter(status for attacker in attackers if (status := attacker.result()))
    return {
        "slowest": {name: max(values, default=float("nan")) for name, values in seconds.items()},
        "refused": refused,
        "statuses": dict(statuses),
        "idle after": server.settle(),
    }


def large_pictures(server: Server, count: int) -> dict:
    """`count` small files with large pictures, all at once: megabytes over what the process held, at most and after."""
    content = one_bit()
    number = server.event("classify")
    paths = [upload(server.url, content, address=HOSTILE) for _ in range(count)]
    before = server.memory_after_rest()
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.append(server.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(count) as pool:
        results = list(
            pool.map(lambda path: call(server, number, [{"path": path, "meta": META}, "auto", 1], HOSTILE), paths)
        )
    done.set()
    watcher.join()
    answered = sum(result["success"] for result in results)
    return {"peak": max(peak) - before, "left": server.memory_after_rest() - before, "answered": answered}


def left_pages(server: Server, count: int, stretches: int = 3) -> dict:
    """Pages that each explain a picture and are left, `count` of them in each stretch: megabytes that one leaves, by
    stretch. What a page leaves, it leaves in every stretch; what the allocator takes at once, it takes in one."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8))
    held = io.BytesIO()
    noise.save(held, "JPEG", quality=90)
    path = upload(server.url, held.getvalue(), address=HOSTILE)
    number = server.event("on_picture")
    data = [["gradcam"], "efficientnet_lite0", "top_activation", 10, True]

    def leave(pages: int) -> int:
        return sum(call(server, number, data, HOSTILE, {"file": path})["success"] for _ in range(pages))

    answered, held_after = leave(15), []  # what the first ones take is not given back, but taken once
    for _ in range(stretches):
        held_after.append(server.memory_after_rest())
        answered += leave(count)
    held_after.append(server.memory_after_rest())
    return {"for each": [float(grown) / count for grown in np.diff(held_after)], "answered": answered}


def uploads(server: Server, cut: int, whole: int) -> dict:
    """`cut` uploads of 20 MB that are broken off half-way, then `whole` ones that are not."""
    before = {path for path in server.folder.rglob("*") if path.is_file()}
    host, port = server.url.removeprefix("http://").split(":")
    for _ in range(cut):
        with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
            head = (
                "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                "X-Forwarded-For: 203.0.113.8\r\nContent-Length: 20000000\r\n\r\n"
                '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            )
            connection.sendall(head.encode() + bytes(3_000_000))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        parts = [path for path in server.folder.rglob("*") if path.is_file() and path not in before]
        if not parts and server.log.read_text().count("was cut off") >= cut:
            break
        time.sleep(0.1)
    content = np.random.default_rng(1).bytes(19_000_000)
    statuses = Counter(post(server.url, content + bytes([n]), address=HOSTILE).status_code for n in range(whole))
    return {
        "parts left": len(parts),
        "tracebacks": server.log.read_text().count("Traceback"),
        "statuses": dict(statuses),
        "megabytes on disk": server.on_disk(),
        "another visitor": post(server.url, PICTURE.read_bytes(), address=OTHER).status_code,
    }


def broken_pictures(server: Server, count: int) -> dict:
    """`count` broken pictures to each endpoint that takes one: answered, refused in a sentence, anything else."""
    random = np.random.default_rng(7)
    picture = Image.open(PICTURE).resize((64, 64))
    originals = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"):
        held = io.BytesIO()
        picture.save(held, kind)
        originals.append(held.getvalue())
    rest = SHORT_EVENTS | {
        "compare": [["gradcam"], "", "auto", "", 10, False],
        "evaluate": [["gradcam"], "", "auto"],
    }
    found: Counter = Counter()
    for name, values in rest.items():
        number = server.event(name)
        for _ in range(count if name != "evaluate" else -(-count // 3)):  # an answer of this one takes seconds
            data = bytearray(originals[int(random.integers(len(originals)))])
            for _ in range(int(random.integers(1, 6))):
                data[int(random.integers(len(data)))] = int(random.integers(256))
            if random.integers(3) == 0:
                del data[int(random.integers(8, len(data))) :]
            url = f"data:image/png;base64,{base64.b64encode(bytes(data)).decode()}"
            result = call(server, number, [{"url": url}, *values])
            error = "" if result["success"] else result["output"]["error"]
            found[f"{name}: " + ("answered" if result["success"] else "refused")] += 1
            assert result["success"] or (error.startswith("The picture ") and error.endswith(".")), error
    return dict(found)


def main() -> None:
    with own_server() as server:
        print("flood of 90 x /compare, seconds of the slowest request beside it:", flood(server, 90, 25), flush=True)
        print("flood of 1600:", flood(server, 1600, 25), flush=True)
        print("40 pictures of 25 megapixels in 3 kB, MB:", large_pictures(server, 40), flush=True)
        print("60 pages left, MB for each of 20:", left_pages(server, 20), flush=True)
        print("10 uploads cut off, 30 of 19 MB:", uploads(server, 10, 30), flush=True)
        print("broken pictures:", broken_pictures(server, 60), flush=True)
        print("tracebacks in the log:", server.log.read_text().count("Traceback"))


if __name__ == "__main__":
    main()
