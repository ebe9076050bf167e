"""Control: how one worker's plan is changed while it serves, by itself or together with all the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import count
from typing import TYPE_CHECKING

from anyport.errors import AnyportError
from anyport.serve import messages
from anyport.serve.messages import Abort, Answer, Ask, Change, Commit, Committed, Line, Prepare, Prepared, Up
from anyport.serve.plan import Plan
from anyport.serve.reply import Problem

if TYPE_CHECKING:
    from anyport.serve.app import App
    from anyport.serve.deployment import Deployment

log = logging.getLogger("anyport.serve")


class Control:
    """Changes of the plan, seen from one worker's event loop.

    With a `line` the parent decides: see coordinator.py. Without one this worker is the only one. Either way a change
    is prepared in a thread, and shown between two requests.
    """

    def __init__(self, app: App, deployment: Deployment, line: Line | None = None) -> None:
        self.app = app
        self.deployment = deployment
        self.line = line
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Plan]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin, on the running loop, when the models are loaded."""
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()
        self.preparing = asyncio.Lock()
        if self.line is not None:
            self.loop.add_reader(self.line.socket, self.heard)
            self.line.send(Up())

    async def change(self, edit: Callable[[Plan], Plan]) -> Plan:
        """Serve what `edit` makes of the plan, in all workers or in none. Returns the plan, complete.

        Problem: 422 where it cannot be served, saying which bundle, what and in which worker; 503 where a worker died
        meanwhile. Where somebody else changes the plan at the same time, `edit` is asked again.
        """
        while True:
            plan = self.app.site.plan
            try:
                made = edit(plan)
            except AnyportError as error:
                raise messages.said(error).problem() from error
            try:
                return await self.ask(Change("put", made, plan.generation))
            except Problem as problem:
                if problem.error != "Changed":
                    raise
                await asyncio.sleep(0)  # all workers hear of a change before the answer to it

    async def ask(self, change: Change) -> Plan:
        """As `change`, in the words of messages.py. Problem 409 where it does not fit what is served by now."""
        if self.line is None:
            async with self.lock:
                return await self._alone(change)
        number = next(self._numbers)
        future: asyncio.Future[Plan] = self.loop.create_future()
        self._asked[number] = future
        self.line.send(Ask(number, change))
        return await future

    async def _alone(self, change: Change) -> Plan:
        deployment = self.deployment
        before = deployment.before[0] if deployment.before else None
        plan = messages.wanted(change, deployment.site.plan, before)
        try:
            await self.loop.run_in_executor(None, lambda: deployment.prepare(plan, reload=change.kind == "reload"))
        except Exception as error:
            raise messages.said(error).problem() from error
        self.commit()
        return deployment.site.plan

    def commit(self) -> None:
        """Show what was prepared: everything that a request can see changes in this one call."""
        from anyport.serve.lanes import short_cut

        leaving = self.deployment.commit()
        short_cut(self.app, self.loop)
        ticks = {id(model.tick): model.tick for model in leaving if model.tick is not None}
        for tick in ticks.values():
            tick.flush()
        if ticks:
            self.app.release(ticks)
        for model in leaving:
            model.leave()
        log.info("plan %d: %s", self.app.site.plan.generation, self.app.site.plan)

    def hangup(self) -> None:
        """SIGHUP: reload, where nobody else decides that for all workers."""
        if self.line is None:
            self._spawn(self._hangup())

    async def _hangup(self) -> None:
        try:
            await self.ask(Change("reload"))
        except Problem as problem:
            log.error("SIGHUP changed nothing: %s; %s", problem.what, problem.fix)

    # what the parent says

    def heard(self) -> None:
        """The line has something to read."""
        assert self.line is not None
        found = self.line.read()
        if found is None:
            self.loop.remove_reader(self.line.socket)  # the parent is gone; server.py stops us
            return
        for message in found:
            if isinstance(message, Prepare):
                self._spawn(self._prepare(message))
            elif isinstance(message, Abort):
                self._spawn(self._abort())
            elif isinstance(message, Commit):
                self.commit()
                self.line.send(Committed(message.number))
            elif isinstance(message, Answer):
                self._answered(message)

    async def _prepare(self, message: Prepare) -> None:
        assert self.line is not None
        deployment, error = self.deployment, None
        async with self.preparing:  # an abort waits for what it aborts
            try:
                await self.loop.run_in_executor(
                    None, lambda: deployment.prepare(message.plan, message.places, again=message.keys)
                )
            except Exception as failure:
                error = messages.said(failure)
        self.line.send(Prepared(message.number, error))

    async def _abort(self) -> None:
        async with self.preparing:
            await self.loop.run_in_executor(None, self.deployment.abort)

    def _answered(self, message: Answer) -> None:
        future = self._asked.pop(message.number)
        if future.done():  # whoever asked has gone
            return
        if message.error is not None:
            future.set_exception(message.error.problem())
        else:
            assert message.plan is not None
            future.set_result(message.plan)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
