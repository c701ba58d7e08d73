"""One run: a market played to real processes while they are killed, until everything has come to rest; then the proof.

1. PostgreSQL and Redis as the product starts them, its newest schema, registered symbols, a worker, a feed.
2. The market is played with faults. Every process is killed with -9 in its turn, and started again a moment later. One
   that ends by itself is started again too.
3. What is left to do is waited for, as long as it gets less.
4. Tables and events are compared with what they must be.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis
import sqlalchemy as sa

from chaos.comparing import compare_analysis, compare_bars, compare_events
from chaos.expected import expected_bars, last_event
from chaos.plan import TARGETS, Kill, Plan
from chaos.report import Done, Finding, Report
from chaos.stage import Stage
from chaos.state import UNREACHABLE, EventReader, holds_all_shards, left_to_do
from chaos.waiting import until
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.replay.faults import FaultKind, FaultPlan
from tickstock_pipeline.replay.live import Playing
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.symbols import add_symbols

BACK_WITHIN_S = 10.0
"""A killed worker's shards are worked on again after that, given that PostgreSQL and Redis are up.

What the new worker waits for a processor, since other programs have them all, is not counted.
"""

_TICK_S = 0.05
_START_S = 60.0
_STANDSTILL_S = 180.0
_REST_LASTS_S = 3.0
_AGAIN_S = 1.0


@dataclass(slots=True)
class _Watch:
    """Since when a worker has been away, and how long those before it were; monotonic seconds.

    Attributes
    ----------
    servers_at : when a server that had been killed was there again
    crowded_s : how long the worker had waited for a processor by then
    returns : seconds, and how many of them the worker waited for a processor that others had
    """

    killed_at: float | None = None
    killed: str = ""
    servers_at: float = 0.0
    crowded_s: float = 0.0
    returns: list[tuple[float, float]] = field(default_factory=list)

    def look(self, engine: sa.Engine, stage: Stage) -> None:
        """Take down the return of the worker, if it has returned."""
        if self.killed_at is None or stage.worker == self.killed:
            return
        try:
            is_back = holds_all_shards(engine, stage.worker)
        except UNREACHABLE:
            return
        if is_back:
            away = time.monotonic() - max(self.killed_at, self.servers_at)
            self.returns.append((away, stage.waited_for_processor("worker") - self.crowded_s))
            self.killed_at = None


class Progress:
    """How long it is since any of what is left to do became less than it ever was; monotonic seconds.

    How fast a machine does it says nothing about whether something is lost; that it does no more of it does.
    """

    def __init__(self, now: float) -> None:
        self.began = now
        self._less_at = now
        self._least: dict[str, int] = {}

    def standstill(self, left: Mapping[str, int], now: float) -> float:
        """Seconds without progress, given what is left now."""
        for what in left.keys() | self._least.keys():
            count = left.get(what, 0)
            if count < self._least.get(what, count + 1):
                self._least[what] = count
                self._less_at = now
        return now - self._less_at


class ChaosRun:
    """A run of one plan in a folder that holds its data, logs and the log of what was sent.

    Parameters
    ----------
    say : told what happens
    """

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._log = folder / "events.jsonl"
        self._stage = Stage(folder / "home")
        self._watch = _Watch()
        self._again_at: dict[str, float] = {}
        self._kills: dict[str, int] = dict.fromkeys(TARGETS, 0)
        self._began = 0.0
        (folder / "home").mkdir(parents=True, exist_ok=True)

    def run(self) -> Report:
        """Do it all; everything that was started has ended on return."""
        plan = self._plan
        report = Report(
            f"seed {plan.seed}: {plan.n_symbols} symbols, {plan.market_minutes} market minutes "
            f"in {plan.minutes:g} min, {plan.first} to {plan.last}"
        )
        source = SyntheticSource(plan.n_symbols, plan.first, plan.last, seed=plan.seed)
        faults = FaultPlan(plan.faults(), seed=plan.seed)
        with ExitStack() as stack:
            server = stack.enter_context(ReplayServer(source, faults=faults, seed=plan.seed))
            stack.enter_context(self._stage)
            schema.upgrade(self._stage.database_url)
            engine = create_engine(self._stage.database_url)
            stack.callback(engine.dispose)
            client = stack.enter_context(connect(self._stage.redis_url))
            with engine.begin() as connection:
                add_symbols(connection, [listing.symbol for listing in source.listings()])
            self._stage.connect(server.url, server.websocket_url)
            events = EventReader(client)
            n_events = self._play(server, engine, events)
            hits = {fault.kind: faults.hits(fault.kind) for fault in plan.faults()}
            # after each cut a feed asks for the minutes of all symbols: cut again and again, it never comes to rest
            faults.clear()
            unrest = self._until_rest(server, engine, client, events)
            report.done = self._done(n_events, hits)
            report.findings = [Finding.of("came to rest", 1, unrest), self._returns()]
            self._say("comparing")
            expected = expected_bars(self._log)
            report.findings += compare_bars(engine, expected)
            report.findings += compare_analysis(engine, expected["1min"])
            report.findings += compare_events(engine, events.kept())
        return report

    def _play(self, server: ReplayServer, engine: sa.Engine, events: EventReader) -> int:
        plan, stage = self._plan, self._stage
        kills = plan.kills()
        with self._log.open("w", encoding="utf-8") as log:
            stage.start("worker")
            until(lambda: holds_all_shards(engine, stage.worker), "worker with all shards", patience_s=_START_S)
            playing = server.stream.play(plan.first, plan.last, speed=plan.speed, log=log)
            try:
                stage.start("feed")
                until(
                    lambda: server.stream.wait_for_subscribers(timeout=_TICK_S),
                    "subscribed feed",
                    patience_s=_START_S,
                )
                self._began = time.monotonic()
                self._say(f"playing at {plan.speed / 60:.1f} market minutes a second, {len(kills)} kills")
                while not playing.is_over:
                    self._turn(kills, engine, events)
            finally:
                playing.stop()
            return self._sent(playing)

    def _sent(self, playing: Playing) -> int:
        n_events = playing.wait(0)
        if n_events is None:
            raise RuntimeError("The market was not played to its end.")
        return n_events

    def _turn(self, kills: list[Kill], engine: sa.Engine, events: EventReader) -> None:
        now = time.monotonic()
        if kills and now - self._began >= kills[0].at_s and self._stage.is_alive(kills[0].target):
            self._kill(kills.pop(0))
        self._bring_back()
        self._watch.look(engine, self._stage)
        try:
            events.read()
        except UNREACHABLE:
            time.sleep(_TICK_S)
        time.sleep(_TICK_S)

    def _kill(self, kill: Kill) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  kill -9 {kill.target}")
        self._stage.kill(kill.target)
        self._kills[kill.target] += 1
        now = time.monotonic()
        self._again_at[kill.target] = now + kill.down_s
        if kill.target == "worker":
            # one that is killed again before it is back has been away since the first time
            self._watch.killed_at = self._watch.killed_at or now
            self._watch.killed = self._stage.worker

    def _bring_back(self) -> None:
        """Start what is due, and note what has ended without a kill."""
        for target in TARGETS:
            if self._stage.is_alive(target):
                continue
            if target not in self._again_at:
                self._stage.note_end(target)
                self._again_at[target] = time.monotonic() + _AGAIN_S
            elif time.monotonic() >= self._again_at[target]:
                del self._again_at[target]
                self._stage.start(target)
                if target in ("postgres", "redis"):
                    self._watch.servers_at = time.monotonic()
                    self._watch.crowded_s = self._stage.waited_for_processor("worker")
                elif target == "worker":
                    self._watch.crowded_s = 0.0

    def _until_rest(
        self, server: ReplayServer, engine: sa.Engine, client: "redis.Redis", events: EventReader
    ) -> list[str]:
        """Wait until nothing is left to do for a while; what is left when it gets no less.

        Meanwhile the last event is sent again and again: from it a feed knows what time it is on the market.
        """
        last = last_event(self._log)
        self._say("played; waiting for what is left to do")
        progress = Progress(time.monotonic())
        rest_since: float | None = None
        while True:
            self._turn([], engine, events)
            server.stream.send([last])
            try:
                left = left_to_do(engine, client, self._stage.started_at["feed"], self._plan.n_symbols)
            except UNREACHABLE as error:
                left = {type(error).__name__: 1}
            now = time.monotonic()
            rest_since = None if left else (rest_since or now)
            if rest_since is not None and now - rest_since >= _REST_LASTS_S:
                self._say(f"at rest {now - progress.began:.0f} s after the last event")
                return []
            if progress.standstill(left, now) >= _STANDSTILL_S:
                return [f"{count} {what}" for what, count in left.items()] or ["no rest"]

    def _returns(self) -> Finding:
        late = [
            f"{seconds:.1f} s, {crowded:.1f} s of them without a processor"
            for seconds, crowded in self._watch.returns
            if seconds - crowded > BACK_WITHIN_S
        ]
        if self._watch.killed_at is not None:
            late.append("never came back")
        return Finding.of(f"worker back within {BACK_WITHIN_S:g} s", self._kills["worker"], late)

    def _done(self, n_events: int, hits: Mapping[FaultKind, int]) -> list[Done]:
        done = [Done("events sent", n_events)]
        done += [Done(f"fault: {kind}", times) for kind, times in hits.items()]
        for target, count in self._kills.items():
            back = max((seconds for seconds, _ in self._watch.returns), default=None) if target == "worker" else None
            done.append(Done(f"kill -9 {target}", count, back))
        ended = self._stage.ended_by_themselves
        return [*done, *(Done(f"{what} by itself", ended.count(what)) for what in dict.fromkeys(ended))]
