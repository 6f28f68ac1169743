"""What a use case leaves in memory: nothing, or a client could fill the memory with calls that are refused."""

import asyncio
import gc
import threading
import weakref

import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.values import make_instance
from waypost.domain import errors

AT_ONCE = 5


def refuses(_):
    raise errors.NotFound("There is nothing with this id")


def refuses_after_a_change(tx):
    make_instance(tx, "i")
    refuses(tx)


def is_broken(tx):
    tx.connection.execute("SELECT nothing")


WAYS = {
    "read": lambda store, use_case: store.read(use_case),
    "long read": lambda store, use_case: store.long_read(use_case, what="the data of a test"),
    "write": lambda store, use_case: store.write(use_case),
    "write that may share a transaction": lambda store, use_case: store.write(use_case, may_share=True),
}

FAILING = [
    *((way, use_case) for way in WAYS for use_case in (refuses, is_broken)),
    *((way, refuses_after_a_change) for way in WAYS if "write" in way),
]


@pytest.mark.usefixtures("_no_garbage_collector")
@pytest.mark.parametrize(("way", "use_case"), FAILING)
def test_the_exception_of_a_use_case_is_freed_without_the_garbage_collector(store, way, use_case):
    seen = []

    async def call():
        try:
            await WAYS[way](store.store, use_case)
        except Exception as error:  # noqa: BLE001 - each store has its own for `is_broken`
            seen.append(weakref.ref(error))

    async def calls():
        await asyncio.gather(*(call() for _ in range(AT_ONCE)))
        assert len(seen) == AT_ONCE
        await until(lambda: not any(error() for error in seen))  # a thread may have it a moment longer than the caller

    store.run(calls())


@pytest.mark.usefixtures("_no_garbage_collector")
def test_the_exception_of_a_write_is_freed_if_its_caller_has_stopped_waiting(store):
    began, may_end, seen = threading.Event(), threading.Event(), []

    def refuses_late(_):
        began.set()
        may_end.wait(PATIENCE)
        raise noted(errors.NotFound("There is nothing with this id"))

    def noted(error):  # a variable of `refuses_late` would keep the exception, whose traceback refers to that frame
        seen.append(weakref.ref(error))
        return error

    async def call_and_stop():
        call = asyncio.ensure_future(store.store.write(refuses_late))
        await until(began.is_set)
        call.cancel()
        await asyncio.wait([call])
        may_end.set()
        await until(lambda: seen and seen[0]() is None)

    store.run(call_and_stop())


@pytest.mark.usefixtures("_no_garbage_collector")
@pytest.mark.parametrize("way", WAYS)
def test_a_use_case_is_freed_after_its_result_even_if_no_other_call_follows(store, way):
    def use_case(_):
        return 1

    seen = weakref.ref(use_case)

    async def call(use_case):
        await WAYS[way](store.store, use_case)

    async def wait():
        await until(lambda: seen() is None)  # the thread that ran it may have it a moment longer than the caller

    store.run(call(use_case))
    del use_case
    store.run(wait())


@pytest.fixture
def _no_garbage_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
