"""A seed, played: the processes, the logs between them, and what goes wrong, in made-up time."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.journal import Summary
from guardian.names import Millis
from guardian.ports import Applied, FlagCommand
from streams.observing.plans import Plans
from streams.outlet import NotDelivered
from streams.settings import Settings
from streams.snapshots import unpacked
from tests.simulation.ledger import Ledger
from tests.simulation.liveness import compare_whole
from tests.simulation.logs import Chances, Log, Outlet, Snapshots
from tests.simulation.loop import Process, VirtualLoop, made_up_time
from tests.simulation.people import People
from tests.simulation.scene import Rollout, Scene, scene
from tests.simulation.shelf import Served, Shelf
from tests.simulation.users import Told, Users
from tests.simulation.workers import CHANGELOG, TOPICS, ActWorker, JudgeWorker, Observe, Teller
from tests.support.traffic import T0_MS

LAST_STEPS = 30
QUIET = Chances()


class Broken(AssertionError):
    """A promise does not hold; the text holds the seed and the last steps."""


@dataclass(frozen=True, slots=True)
class Played:
    """
    What became of a seed: steps, false kills, and the budgets of its rollouts.

    Of ``healthy`` variations that should have gone on, ``unlucky`` ones held evidence of harm that chance had brought.
    """

    steps: int
    false_kills: int
    budgets: tuple[float, ...]
    healthy: int = 0
    unlucky: int = 0


def play(seed: int) -> Played:
    """
    Play a seed.

    Raises:
        Broken: a promise does not hold.
    """
    # What a world leaves behind is collected in one go when it is over: to look for it meanwhile costs a tenth of the time.
    gc.disable()
    try:
        return _played(World(scene(seed)))
    finally:
        gc.enable()
        gc.collect(0)


def _played(world: World) -> Played:
    world.play()
    budgets = tuple(world.ledger.budget(key) for key in world.ledger.rollouts)
    return Played(world.steps, world.ledger.false_kills, budgets, world.ledger.healthy, world.ledger.unlucky)


class World:
    """All of one run. ``trace`` is given every step's line."""

    def __init__(self, scene: Scene, trace: Callable[[str], None] | None = None) -> None:
        self.scene, self._trace = scene, trace
        self.loop = VirtualLoop()
        self.config = JudgeConfig(show_ms=2_000, resend_ms=3_000)
        self.journal, self.decisions = Log(), Log()
        self.inputs, self.noted = [Log(), Log()], [(0, ""), (0, "")]
        self.told: list[list[Told]] = [[], []]
        self._due: Counter[tuple[str, str, int]] = Counter()
        self.kept = Snapshots(lambda value: Bank.offset_of(unpacked(value)))
        self.plans = Plans(Settings())
        self.ledger = Ledger(self)
        self.shelf = Shelf(self, scene.rollouts)
        self.store = self.shelf.memory
        self.users, self.people = Users(self), People(self)
        self.steps, self.broken = 0, ""
        self._dice = random.Random(f"faults {scene.seed}")
        self._lines: deque[str] = deque(maxlen=LAST_STEPS)
        self._running: dict[str, tuple[Process, JudgeWorker | ActWorker | Observe | Teller]] = {}
        self._processes: list[Process] = []
        self.loop.set_exception_handler(self._defect)

    # ------------------------------------------------------------------ time and steps

    def ms(self, at_s: float) -> Millis:
        """A moment in milliseconds."""
        return T0_MS + round(at_s * 1_000)

    def clock_ms(self, whose: str) -> Millis:
        """What a clock shows."""
        return self.loop.now_ms + self.scene.skews_ms.get(whose, 0)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.loop.time() >= self.scene.quiet_from_s

    def happens(self, chance: float) -> bool:
        """Whether a fault happens now."""
        return not self.is_quiet and chance > 0.0 and self._dice.random() < chance

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        text = f"{self.loop.time():7.3f} {line}"
        self._lines.append(text)
        if self._trace is not None:
            self._trace(text)

    def check(self, right: bool, said: str) -> None:
        """End the run where a promise does not hold."""
        if not right and not self.broken:
            self.note(f"BROKEN {said}")
            self.broken = said
            self.loop.stop()

    def stepped(self) -> None:
        """Count a step."""
        self.steps += 1

    # ------------------------------------------------------------------ processes

    def start(self, role: str) -> None:
        """Start a process in a role."""
        process = self._process(f"{role} #{len(self._processes)}")
        worker: JudgeWorker | ActWorker | Observe | Teller
        if role == "judge":
            worker = JudgeWorker(self, process)
        elif role == "act":
            worker = ActWorker(self, process)
        elif role == "store":
            worker = Teller(self, process)
        else:
            worker = Observe(self, process, int(role[-1]))
        self._running[role] = process, worker
        self.note(f"{process.name} starts")
        process.start(worker.run())

    def _process(self, name: str) -> Process:
        process = Process(self.loop, name, lambda said: self.check(False, said))
        self._processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """End a process where it stands; another one takes its role a little later."""
        if not process.alive:
            return
        self.note(f"{process.name} dies")
        process.kill()
        for role, (running, _) in self._running.items():
            if running is process:
                self.loop.call_later(self._dice.uniform(0.05, 1.5), self.start, role)
        self.stepped()

    def strike(self, moment: str, process: Process) -> bool:
        """Let the process die, if this is the moment."""
        struck = self.happens(self.scene.faults.moments.get(moment, 0.0))
        if struck:
            self.note(f"at the moment {moment!r}:")
            self.kill(process)
        return struck

    async def moment(self, name: str, process: Process) -> None:
        """The same, inside of the process."""
        self.stepped()
        if self.strike(name, process):
            await asyncio.sleep(0)

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.2, 2.8))
            self.journal.commit()
            self.decisions.commit()

    def _depose(self) -> None:
        process, worker = self._running["judge"]
        if isinstance(worker, JudgeWorker) and process.alive:
            self.note(f"{process.name} is deposed and does not know it")
            worker.is_deposed = True
            self.start("judge")
            worker.sleeps_s = self._dice.choice((0.0, self._dice.uniform(1.0, 6.0)))
            lives_s = min(worker.sleeps_s + self._dice.uniform(0.5, 3.0), self.scene.quiet_from_s - self.loop.time())
            self.loop.call_later(lives_s, self.kill, process)

    def _die(self, role: str) -> None:
        self.kill(self._running[role][0])

    def outlet(self, process: Process) -> Outlet:
        """The outlet of a process."""
        faults = self.scene.faults

        def chances(topic: str) -> Chances:
            quiet = self.is_quiet or topic == TOPICS.rollouts
            return QUIET if quiet else Chances(faults.refused, 0.5)

        def write(topic: str, key: str, value: bytes) -> None:
            self._arrived(topic, key, value)
            if topic == CHANGELOG:
                self.strike("part kept", process)
            elif topic == TOPICS.decisions:
                self.strike("decided", process)
            elif topic == TOPICS.receipts:
                self.strike("answered", process)

        return Outlet(process, random.Random(f"outlet {self.scene.seed} {process.name}"), chances, write)

    # ------------------------------------------------------------------ what is written

    def _arrived(self, topic: str, key: str, value: bytes) -> None:
        self.stepped()
        if topic == TOPICS.journal:
            self.append(value)
        elif topic == TOPICS.decisions:
            self.note(f"published {key}")
            self.decisions.append(value)
        elif topic == TOPICS.rollouts:
            self.plans.take(key, value)
        elif topic == CHANGELOG:
            part, raw = key.partition("|")[2], unpacked(value)
            self.note(f"kept {part or 'sources'!r} at {Bank.offset_of(raw)}")
            self.ledger.snapshot(part, raw)
            self.kept.put(part, value)
        else:
            self.check(topic != TOPICS.dead_letters, f"a dead letter: {value!r}")

    def append(self, value: bytes) -> None:
        """Write an entry of the journal."""
        offset = self.journal.append(value, self.loop.now_ms)
        entry = self.ledger.entry(offset, value)
        if not isinstance(entry, Summary):
            self.note(f"journal {offset}: {type(entry).__name__} {getattr(entry, 'action', getattr(entry, 'status', ''))}")

    def commit(self, number: int, messages: list[bytes], noted: tuple[int, str]) -> None:
        """Commit a transaction of observe: all entries and the offset at once; each event is now counted once."""
        self.stepped()
        before = self.noted[number][0]
        for told in self.told[number][before : noted[0]]:
            self._due.update(told)
        self.noted[number] = noted
        for value in messages:
            self.append(value)
        for key in {key for key, _, _ in self._due}:
            due = {name: (self._due[key, name, 0], self._due[key, name, 1]) for name in self.ledger.whole(key)}
            self.check(due == self.ledger.whole(key), f"{key}: sent {due}, counted {self.ledger.whole(key)}")
        self.note(f"observe {number}: committed to {noted[0]}, {len(messages)} entries")

    def judged(self, worker: JudgeWorker) -> None:
        """A judge has taken an entry."""
        if worker.bank is not None and not self.broken:
            self.ledger.judged(worker.bank, worker.seen)

    def decided(self, decision: Decision) -> None:
        """A judge has decided something for the first time."""
        self.people.meddle(decision)

    def stored(self, command: FlagCommand, applied: Applied) -> None:
        """The store has answered a command."""
        self.shelf.stored(command, applied)

    def served(self, flag: str, served: Served) -> None:
        """The services learn of shares a little later."""
        for service in self.users.served:
            self.loop.call_later(self._dice.uniform(0.0, 0.3), service.__setitem__, flag, served)

    def rollout(self, key: str) -> Rollout:
        """The rollout of a key."""
        return next(rollout for rollout in self.scene.rollouts if rollout.key == key)

    # ------------------------------------------------------------------ what is away

    def is_unread(self, number: int) -> bool:
        """Whether a source cannot be read now."""
        now_s = self.loop.time()
        return any(
            at_s <= now_s < min(at_s + for_s, self.scene.quiet_from_s) and which in (number, -1)
            for at_s, for_s, which in self.scene.faults.outages_s
        )

    def is_store_down(self) -> bool:
        """Whether the store is away now."""
        now_s = self.loop.time()
        return any(
            at_s <= now_s < min(at_s + for_s, self.scene.quiet_from_s) for at_s, for_s in self.scene.faults.store_down_s
        )

    # ------------------------------------------------------------------ the run

    def play(self) -> None:
        """
        Play the scene to its end, or to the first promise that does not hold.

        Raises:
            Broken: a promise does not hold.
        """
        try:
            with made_up_time(self.loop, self.scene.skews_ms["act"]):
                self._begin()
                self.loop.call_at(self.scene.seconds, self.loop.stop)
                self.loop.run_forever()
                if not self.broken:
                    self._drain()
                self._end()
        finally:
            self.loop.close()

    def _begin(self) -> None:
        for rollout in self.scene.rollouts:
            self.people.begin(rollout)
        for role in ("judge", "act", "observe 0", "observe 1", *(["store"] if self.scene.tells else [])):
            self.loop.call_soon(self.start, role)
        town = self._process("town")
        self.loop.call_soon(lambda: town.start(self.users.live()))
        self.loop.call_soon(lambda: town.start(self.people.live()))
        self.loop.call_soon(lambda: town.start(self._commit()))
        for at_s, role in self.scene.faults.crashes:
            self.loop.call_at(at_s, self._die, role)
        for at_s in self.scene.faults.zombies_s:
            self.loop.call_at(at_s, self._depose)

    def _drain(self) -> None:
        """Let what was decided last be carried out and answered, and judge read the answer."""
        for role, (process, _) in self._running.items():
            if role.startswith("observe"):
                process.kill()
        self.loop.call_later(2.0, self.loop.stop)
        self.loop.run_forever()

    def _defect(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "exception" in context and not isinstance(context["exception"], NotDelivered):
            self.check(False, f"{context['message']}: {context['exception']!r}")

    def _end(self) -> None:
        _, judge = self._running["judge"]
        if not self.broken and isinstance(judge, JudgeWorker) and judge.bank is not None:
            compare_whole(self, judge.bank)
        for process in self._processes:
            process.kill()
        # Whoever was cancelled may wait for others who were.
        self.loop.call_later(0.001, self.loop.stop)
        self.loop.run_forever()
        if self.broken:
            last = "\n".join(self._lines)
            raise Broken(f"seed {self.scene.seed}: {self.broken}\n{last}")
