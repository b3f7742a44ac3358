"""A worker that is stopped for longer than any timeout, with a stream under way: nothing is cut for that."""

import os
import signal
import threading
import time

from tests.gateway.conftest import Start
from tests.gateway.running import route
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Answer, chat
from tests.gateway.upstream import Told, Upstream, good_events, text_of

TEACHER = "gpt-4o"
STOPPED_S = 4.0
TIMES = {"first_token_s": 1.5, "idle_s": 1.5, "total_s": 3.0}


def test_a_stopped_worker_cuts_no_stream(start: Start, upstream: Upstream) -> None:
    told = Told()
    place = upstream.place("stopped", told)
    gateway = start({"up": configured(place.url)}, {"r": route("up", timeouts=TIMES)})
    (worker,) = gateway.worker_ids()
    got: list[Answer] = []

    def ask() -> None:
        with gateway.client() as client:
            got.append(client.ask(chat("r", stream=True)))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for one in asking:
        one.start()
    begun, silent = told.next(), told.next()
    begun.start_stream()
    begun.events(good_events(TEACHER)[:3])
    begun.taken()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(worker, signal.SIGCONT)
    silent.start_stream()
    begun.events(good_events(TEACHER)[3:])
    silent.events(good_events(TEACHER))
    for conversation in (begun, silent):
        conversation.end_stream()
    told.end()
    for one in asking:
        one.join()
    assert [(one.status, one.whole, one.text) for one in got] == [(200, True, text_of(TEACHER))] * 2
    assert place.asked == 2
