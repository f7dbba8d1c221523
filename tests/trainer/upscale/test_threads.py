"""The threaded pipeline: reading and writing overlap with the work, and failures are reported in order."""

import threading

import pytest

from trainer.upscale.threads import pipelined


def test_everything_arrives_in_order() -> None:
    made: dict[int, int] = {}
    settled = list(pipelined(range(10), lambda n: n + 1, lambda n: n * n, made.__setitem__, ()))
    assert settled == [(n, None) for n in range(10)]
    assert made == {n: (n + 1) ** 2 for n in range(10)}


def test_the_next_is_read_and_the_last_is_written_while_one_is_worked_on() -> None:
    """Each step waits for the others: in sequence, this would never end."""
    read = [threading.Event() for _ in range(4)]
    working = [threading.Event() for _ in range(4)]

    def work(number: int) -> int:
        working[number].set()
        if number < 3:
            assert read[number + 1].wait(20)
        return number

    def write(number: int, _: int) -> None:
        if number < 3:
            assert working[number + 1].wait(20)

    def opened(number: int) -> int:
        read[number].set()
        return number

    assert list(pipelined(range(4), opened, work, write, ())) == [(n, None) for n in range(4)]


@pytest.mark.parametrize("where", ["read", "work", "write"])
def test_what_is_forgiven_is_given_back_and_the_rest_goes_on(where: str) -> None:
    def step(name: str, number: int) -> int:
        if name == where and number == 2:
            raise OSError("no space")
        return number

    settled = dict(
        pipelined(
            range(5),
            lambda n: step("read", n),
            lambda n: step("work", n),
            lambda n, _: (step("write", n), None)[1],
            (OSError,),
        )
    )
    assert {number for number, error in settled.items() if error is None} == {0, 1, 3, 4}
    assert str(settled[2]) == "no space"


@pytest.mark.parametrize("where", ["read", "work", "write"])
def test_what_is_not_forgiven_ends_it(where: str) -> None:
    def step(name: str) -> None:
        if name == where:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(pipelined([1], lambda _: step("read"), lambda _: step("work"), lambda _, __: step("write"), (OSError,)))


def test_files_wait_in_a_short_queue() -> None:
    """Few pictures are in memory, for any number of files."""
    read, worked = 0, 0
    ahead = []

    def opened(number: int) -> int:
        nonlocal read
        read += 1
        return number

    def work(number: int) -> int:
        nonlocal worked
        worked += 1
        ahead.append(read - worked)
        return number

    list(pipelined(range(50), opened, work, lambda *_: None, ()))
    assert max(ahead) <= 3
