"""Tasks in the background. The error that ends one is logged at once."""

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any

from waypost.observe import events


def start(coroutine: Coroutine[Any, Any, None], *, where: str, emit: events.Emit) -> "asyncio.Task[None]":
    """Run a coroutine in the background. An error that ends it is emitted as `Failed`; being cancelled is none."""

    def ended(task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error:
            emit(events.Failed(where=where, id=str(uuid.uuid4()), cause=error))

    task = asyncio.create_task(coroutine)
    task.add_done_callback(ended)
    return task
