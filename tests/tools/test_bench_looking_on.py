"""What pages that look on cost: the table of figures, and streams that are read to nowhere."""

import socket
import threading
import time

from bench.looking_on import ASKED, Onlookers, told
from bench.runner import Run

GIVEN = b"x" * 1_000


def run(busy: float) -> Run:
    return Run(1_000.0, 0.0, {}, {}, {}, 0, "", busy, 0.0, 0.0, 0.0, 0.0)


def test_each_round_is_told_and_the_median_counts() -> None:
    lines = told([(run(0.2), run(0.21), 16 * 1024), (run(0.2), run(0.2), 0), (run(0.2), run(0.4), 0)]).splitlines()
    assert lines[1].split() == ["200", "210", "+5.0%", "1"]
    assert lines[-1] == "median: +5.0% at 1000 requests a second"


def test_onlookers_ask_and_read_all_that_comes() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def give() -> None:
            for _ in range(2):
                with server.accept()[0] as connection:
                    asked.append(connection.recv(len(ASKED), socket.MSG_WAITALL))
                    connection.sendall(GIVEN)

        giving = threading.Thread(target=give)
        giving.start()
        onlookers = Onlookers(server.getsockname()[1], 2)
        onlookers.start()
        giving.join()
        while onlookers.got_bytes < 2 * len(GIVEN):
            time.sleep(0.001)
        onlookers.stop()
    assert asked == [ASKED, ASKED]
    assert onlookers.got_bytes == 2 * len(GIVEN)
