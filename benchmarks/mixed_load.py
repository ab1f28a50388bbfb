"""Visitors and API clients side by side for minutes: is every answer right, is none lost, is bad input still told so?

`python benchmarks/mixed_load.py [MINUTES]` (10 by default) starts `python app.py` and lets 8 visitors use the page as
their browsers would, by plain HTTP, and 8 clients the API: pictures, bad pictures, cancellations, disconnections. Right
is what one of them alone was told before: class, map, sentence. The suite runs a short form (`test_mixed_load.py`).
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import random
import re
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import hostile
import httpx
import numpy as np
import plain_http
from PIL import Image
from plain_http import LIMIT, ROOT

MODEL, LAYER = "efficientnet_lite0", "top_activation"
EXAMPLES = ("astronaut", "coffee", "chelsea")
CLASSES = (281, 504, 812)
BAD = {
    "no picture": b"not a picture at all",
    "cut off": (ROOT / "examples" / "coffee.jpg").read_bytes()[:9000],
    "too small": plain_http.png(3, 3, rows=bytes(30)),
}
# 16 people behind one address: none is refused for what the others do.
LIMITS = {
    "CAMKIT_LONG_PER_ADDRESS": "64",
    "CAMKIT_LONG_IN_ALL": "64",
    "CAMKIT_REQUESTS_PER_ADDRESS": "400",
    "CAMKIT_PAGES_PER_ADDRESS": "400",
    "CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS": "100000",
}
MOST_GROWTH = 10.0  # megabytes a minute, of the second half of a long run


@dataclass
class Found:
    """What came of the load: right answers by kind, and a sentence for each that was lost or crossed."""

    right: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.right.items()))
        return f"{self.right.total()} right ({kinds}), {len(self.lost)} lost, {len(self.crossed)} crossed"


class Crossed(AssertionError):
    """An answer that is not what one visitor alone was told."""


# --- requests ------------------------------------------------------------------------------------------------------


class Person:
    """Who asks: a session of its own at the server."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, uuid.uuid4().hex

    def send(self, event: str, values: list, event_data=None) -> tuple[int, str]:
        """Puts an event into the queue: its number and its id."""
        found = next(each for each in plain_http.events(self.url) if each["api_name"] == event)
        joined = plain_http.join(self.url, found["id"], values, self.session, event_data)
        joined.raise_for_status()
        return found["id"], joined.json()["event_id"]

    def messages(self) -> Iterator[dict]:
        """What the server says to this session until it closes the stream; closing the iterator goes away."""
        address, whose = f"{self.url}/gradio_api/queue/data", {"session_hash": self.session}
        with httpx.stream("GET", address, params=whose, timeout=LIMIT) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def ask(self, event: str, values: list, event_data=None) -> dict:
        """The last message of an event from start to end."""
        self.send(event, values, event_data)
        for message in self.messages():
            if message["msg"] == "process_completed":
                return message
        raise AssertionError(f"{event} has no answer")

    def answer(self, event: str, values: list, event_data=None) -> list:
        message = self.ask(event, values, event_data)
        assert message["success"], f"{event} was refused: {message['output']}"
        return message["output"]["data"]

    def refusal(self, event: str, values: list) -> str:
        return plain_http.refusal(self.ask(event, values))

    def begin(self, event: str, values: list) -> tuple[int, str, Iterator[dict]]:
        """Begins long work and waits for its first answer: the event's number, its id, and the messages to come."""
        number, event_id = self.send(event, values)
        messages = self.messages()
        for message in messages:
            assert message["msg"] != "process_completed", f"{event} is over already: {message['output']}"
            if message["msg"] == "process_generating":
                return number, event_id, messages
        raise AssertionError(f"{event} has no answer")

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """What an open page holds open, and what ends when it is left."""
        with httpx.stream("GET", f"{self.url}/gradio_api/heartbeat/{self.session}", timeout=LIMIT):
            yield


def settings() -> list:
    return [["gradcam", "gradcam_plus_plus"], MODEL, LAYER, 10, True]


def reference(path: str) -> dict:
    return {"path": path, "meta": plain_http.META}


def same(what: str, found, expected) -> None:
    """Crossed unless names are equal and arrays agree to 1e-5 of a raw map, or a grey level of a map of the page."""
    for value, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, np.ndarray):
            atol = 1 if wanted.dtype == np.uint8 else 1e-5
            right = np.allclose(np.asarray(value, float), np.asarray(wanted, float), atol=atol)
        else:
            right = value == wanted
        if not right:
            raise Crossed(f"{what}: {str(value)[:80]} instead of {str(wanted)[:80]}")


# --- what they do, each once and all alone before the load: the answers are then what is expected ------------------


class Known:
    """What one alone is told: by action and its arguments."""

    def __init__(self, url: str) -> None:
        self.url = url
        uploads = {name: (ROOT / "examples" / f"{name}.jpg").read_bytes() for name in EXAMPLES} | BAD
        self.paths = {name: plain_http.upload(url, content, f"{name}.png") for name, content in uploads.items()}
        self.answers: dict[tuple, tuple] = {}
        alone = Person(url)
        for action, choices in ACTIONS.items():
            for choice in choices:
                self.answers[action, choice] = action(alone, self, choice)

    def check(self, person: Person, action: Callable, choice) -> None:
        same(f"{action.__name__} {choice}", action(person, self, choice), self.answers[action, choice])


def explain(person: Person, known: Known, choice: tuple) -> tuple:
    name, class_index = choice
    _, facts, _ = person.answer("explain", [reference(known.paths[name]), "gradcam", str(class_index), MODEL])
    return facts["class_index"], np.array(facts["raw"], np.float32)


def classify(person: Person, known: Known, name: str) -> tuple:
    (answer,) = person.answer("classify", [reference(known.paths[name]), MODEL, 3])
    return (*(each["name"] for each in answer["predictions"]),)


def compare(person: Person, known: Known, name: str) -> tuple:
    overlays, facts, _ = person.answer("compare", [reference(known.paths[name]), ["gradcam", "gradcam_plus_plus"]])
    return facts["class_name"], facts["complete"], *(each["caption"] for each in overlays)


def send_bad_picture(person: Person, known: Known, kind: str) -> tuple:
    return (person.refusal("explain", [reference(known.paths[kind]), "gradcam"]),)


def send_bad_value(person: Person, known: Known, method: str) -> tuple:
    return (person.refusal("explain", [reference(known.paths["coffee"]), method]),)


def open_page(person: Person, known: Known, _: None) -> tuple:
    return shown(person.answer("on_open", [None, *settings()]))


def choose_example(person: Person, known: Known, index: int) -> tuple:
    return shown(person.answer("on_example", settings(), {"index": index}))


def bring_picture(person: Person, known: Known, choice: tuple) -> tuple:
    """A picture of one's own, then another class of it."""
    name, class_index = choice
    first = shown(person.answer("on_picture", settings(), {"file": known.paths[name]}))
    return *first, *shown(person.answer("on_class", [class_index, *settings()]))


def shown(outputs: list) -> tuple:
    """The class that a page explains, and its maps as the browser draws them."""
    panels = outputs[0]
    maps = (each["map"].partition(",")[2] for each in panels["panels"])
    return panels["alt"], *(np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in maps)


ACTIONS: dict[Callable, tuple] = {
    explain: tuple(itertools.product(EXAMPLES, CLASSES)),
    classify: EXAMPLES,
    compare: EXAMPLES,
    send_bad_picture: tuple(BAD),
    send_bad_value: ("lime",),
    open_page: (None,),
    choose_example: (0, 1, 2),
    bring_picture: tuple(zip(EXAMPLES, CLASSES, strict=True)),
}
OF_CLIENTS = (explain, explain, explain, classify, compare, send_bad_picture, send_bad_value)


def cancel(person: Person, known: Known) -> None:
    """A client begins a full Score-CAM and cancels it: it is told of the end, and may ask again at once."""
    data = [reference(known.paths["coffee"]), ["scorecam"]]
    number, event_id, messages = person.begin("compare", data)
    body = {"session_hash": person.session, "fn_index": number, "event_id": event_id}
    httpx.post(f"{person.url}/gradio_api/cancel", json=body, timeout=LIMIT).raise_for_status()
    # Not until the stream is closed: Gradio keeps it open for an event of this session that was left before.
    assert any(message["msg"] == "process_completed" for message in messages)
    messages.close()
    known.check(person, explain, ("coffee", CLASSES[0]))


def disconnect(person: Person, known: Known) -> None:
    """A client begins a full Score-CAM and goes away."""
    *_, messages = person.begin("compare", [reference(known.paths["chelsea"]), ["scorecam"]])
    messages.close()


def measure(person: Person, known: Known, whole: bool) -> None:
    """The page measures what it shows, to the end or until it is left."""
    if whole:
        table = person.answer("on_measure", [])[2]
        same("the table of the measuring", (len(re.findall("<tr", str(table))) > 4,), (True,))
    else:
        *_, messages = person.begin("on_measure", [])
        messages.close()


# --- the load ------------------------------------------------------------------------------------------------------


class Load:
    """8 visitors and 8 clients until a moment; every one seeded, so that a run can be had again."""

    def __init__(self, url: str, seconds: float, people: int = 8) -> None:
        self.known = Known(url)
        self.end = time.monotonic() + seconds
        self.people, self.found, self.guard = people, Found(), threading.Lock()

    def run(self) -> Found:
        with ThreadPoolExecutor(2 * self.people) as pool:
            kinds = [self.visit_until_the_end, self.ask_until_the_end]
            done = [pool.submit(kind, number) for kind in kinds for number in range(self.people)]
            for each in done:
                each.result()
        return self.found

    def over(self) -> bool:
        return time.monotonic() >= self.end

    def step(self, what: str, call: Callable, *given) -> bool:
        """One thing done; whether it went well."""
        try:
            call(*given)
        except Crossed as error:
            with self.guard:
                self.found.crossed.append(str(error))
        except Exception as error:  # whatever it was, this answer is lost
            with self.guard:
                self.found.lost.append(f"{what}: {type(error).__name__} {error}"[:300])
        else:
            with self.guard:
                self.found.right[what] += 1
            return True
        return False

    def ask_until_the_end(self, number: int) -> None:
        """A client of the API, every fourth time one that changes its mind."""
        choose, person, known = random.Random(number), Person(self.known.url), self.known
        for turn in itertools.count(number):
            if self.over():
                return
            if turn % 4 == 3:
                change = choose.choice((cancel, disconnect))
                person = person if change is cancel else Person(known.url)
                self.step(change.__name__, change, person, known)
            else:
                action = choose.choice(OF_CLIENTS)
                self.step(action.__name__, known.check, person, action, choose.choice(ACTIONS[action]))

    def visit_until_the_end(self, number: int) -> None:
        """Page after page, each opened, used and left; one in three measures to the end, one is left while it does."""
        choose, known = random.Random(100 + number), self.known
        for turn in itertools.count(number):
            if self.over():
                return
            person = Person(known.url)
            with person.heartbeat():
                self.step("open_page", known.check, person, open_page, None)
                self.step("choose_example", known.check, person, choose_example, choose.choice((0, 1, 2)))
                picture = choose.choice(ACTIONS[bring_picture])
                if self.step("bring_picture", known.check, person, bring_picture, picture):
                    whole = turn % 3 == 1
                    if turn % 3 and not (whole and self.over()):
                        self.step("measure", measure, person, known, whole)


def unexpected(log: str) -> list[str]:
    """The lines of a log that tell of an exception: what is refused is one sentence to the visitor and none here."""
    return re.findall(r"^(?:Traceback .*|\w*(?:Error|Exception|Exit)\b.*)", log, re.MULTILINE)


def main(minutes: float = 10) -> None:
    with hostile.own_server(**LIMITS) as server:
        load = Load(server.url, 60 * minutes)
        samples, done = [], threading.Event()

        def watch() -> None:
            while not done.wait(2):
                samples.append((time.monotonic(), server.memory()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        found = load.run()
        done.set()
        watcher.join()
        rest = server.memory_after_rest()
        log = unexpected(server.log.read_text())
    times, held = np.array(samples[len(samples) // 2 :]).T
    slope = 60 * np.polyfit(times - times[0], held, 1)[0]
    print(f"{minutes:g} minutes, load now {os.getloadavg()[0]:.1f}: {found}")
    print(*found.lost[:10], *found.crossed[:10], *log[:10], sep="\n")
    print(
        f"memory {samples[0][1]:.0f} MB at first, {held[-1]:.0f} at last, {rest:.0f} at rest; {slope:+.1f} MB a minute"
    )
    assert not (found.lost or found.crossed or log)
    assert minutes < 5 or slope < MOST_GROWTH


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
