"""A task group for the way of requests: what comes out of it is freed without the garbage collector."""

import asyncio
from types import TracebackType


class TidyGroup(asyncio.TaskGroup):
    """As `asyncio.TaskGroup`. Only the errors that are in a group still say where they were raised.

    Those of Python 3.11 and 3.12 raise an error out of a frame that holds it: a circle on each request that is
    cancelled or fails.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `asyncio.TaskGroup`."""
        try:
            await super().__aexit__(kind, error, trace)
        except BaseException as ended:
            ended.__traceback__ = None
            raise
        finally:
            del error, trace
