"""A controller in a made-up world: a clock that the test moves, a log that it writes, and the store on disk."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graduand.gateway.control import moves
from graduand.gateway.control.loop import Controller
from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Mode, Replica, Route, Settings, Student, Teacher, Upstream
from graduand.gateway.model.routing import STUDENT, decide
from graduand.rollout.assignment import BUCKETS
from graduand.rollout.gates.cycles import Proof
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Event, Phase

STUDENT_NAME = "triage@3f9c1a0b22de"
OLD_NAME = "old@3f9c1a"
TASK = {"kind": "label", "labels": ["yes", "no"]}
SPEC = {
    "route": "triage",
    "student": STUDENT_NAME,
    "steps": [
        {"shadow": {"pairs": 50, "t_max": "1h"}},
        {"canary": {"weight": 10, "requests": 20, "dwell": "10s"}},
        {"full": {"requests": 20, "dwell": "10s"}},
    ],
    "gates": ["agreement 0.8"],
    "cycle": "none",
    "task": TASK,
}


OPEN: list["World"] = []  # closed by conftest after each test


@dataclass
class World:
    """`ask` puts requests into the log as a worker would; `look` lets the controller act."""

    folder: Path
    now: float = 1_000_000_000.0  # long ago, so that files are newer
    workers: int = 1
    asked: int = 0
    state: str = ""  # a Redis, or else a file
    controllers: int = 0
    upstreams: dict[str, Upstream] = field(default_factory=dict)  # more of them
    mode: Mode = "teacher"  # of the route, as the file has it
    named: bool = False  # requests name their users
    student: str = STUDENT_NAME
    users: int = 0  # who come again and again; 0: each request is somebody else's
    checks: tuple[Any, ...] | None = None  # of the route
    fails_check: int = (
        0  # of every hundred answers of the student, how many the route's check `policy` does not let pass
    )

    def __post_init__(self) -> None:
        upstreams = {
            name: Upstream(name, "openai", (Replica("http", "127.0.0.1", 1, "/v1"),)) for name in ("openai", "gpu")
        }
        upstreams.update(self.upstreams)
        route = Route(
            "triage", Teacher("openai", "gpt-4o"), Student("gpu", OLD_NAME), mode=self.mode, checks=self.checks
        )
        self.settings = Settings(
            upstreams,
            {"triage": route},
            workers=self.workers,
            state=self.state or f"sqlite:///{self.folder}/state.db",
            logs=f"file:///{self.folder}/logs",
        )
        (self.folder / "logs" / "segments").mkdir(parents=True)
        self.store = open_rollouts(self.settings)
        self.store.state.found()
        self._controllers: list[Controller] = []
        self.controller = self.new_controller()
        OPEN.append(self)

    def close(self) -> None:
        """Let go of every controller, of those that a test left for dead too."""
        for controller in self._controllers:
            controller._asker.close()
            controller._labels.close()
            controller._store.close()
        self.store.close()

    def new_controller(self) -> Controller:
        self.controllers += 1
        controller = Controller(self.settings, f"{self.folder.name}-controller-{self.controllers}", lambda: self.now)
        controller._prechecked = lambda row: ()  # type: ignore[method-assign]
        self._controllers.append(controller)
        self.controller = controller
        return controller

    def new_store(self) -> Rollouts:
        """The store opened once more; whoever asks closes it."""
        return open_rollouts(self.settings)

    def start(self, key: str = "start-1", **changes: Any) -> str:
        spec = specfile.read({**SPEC, "student": self.student, **changes})
        with self.store.transaction():
            row = moves.begin(
                self.store, spec, dict(spec.task or TASK), salt="salt-1", at=self.now, who="ann", why="", key=key
            )
        return row.id

    @property
    def row(self) -> Row:
        return self.store.rows()[0]

    @property
    def waiting(self) -> int:
        """Pairs that wait for a judge."""
        return self.store.judging_count(self.row.id)

    def proof(self, name: str) -> Proof:
        """What one of the promotion's gates has of the present step, in whole sessions."""
        course = self.row.ledger.course
        assert course is not None
        return course.proofs[name]

    @property
    def phase(self) -> Phase:
        return self.row.state.phase

    @property
    def route(self) -> Route:
        """As the workers have it."""
        return self.store.state.table(self.settings.routes).routes["triage"]

    def served(self) -> None:
        """Every worker has the present table."""
        for number in range(self.workers):
            self.store.state.serves(str(number), self.store.state.version())

    def look(self, times: int = 1, step_s: float = 0.1) -> None:
        for _ in range(times):
            self.now += step_s
            self.controller.look()

    def verb(self, kind: str, **data: Any) -> None:
        row = self.row
        with self.store.transaction():
            event = Event(kind, self.now, row.state.version, actor="ann", reason="because", data=data)
            moves.carry_out(self.store, row, event, self.settings.routes)

    def ask(self, count: int, agree: float = 1.0, file: str = "w0", broken: bool = False, **more: Any) -> None:
        """Requests of as many users; the student agrees on the first `agree` of every hundred."""
        with (self.folder / "logs" / "segments" / f"{file}.jsonl").open("a") as out:
            for line in self.lines(count, agree, broken, **more):
                out.write(line + "\n")

    def lines(
        self, count: int, agree: float = 1.0, broken: bool = False, prompt: str = "?", incumbent: float = 1.0
    ) -> list[str]:
        """The records of so many requests; where an `incumbent` is in service, it agrees on as many of every hundred."""
        lines, route = [], self.route
        for _ in range(count):
            self.asked += 1
            says = {
                self.student: "yes" if self.asked % 100 < agree * 100 else "no",
                OLD_NAME: "yes" if self.asked % 100 < incumbent * 100 else "no",
                None: "yes",
            }
            lines += [json.dumps(one) for one in self._records(route, says, broken, prompt)]
        return lines

    def _records(self, route: Route, says: dict[str | None, str], broken: bool, prompt: str) -> list[dict[str, Any]]:
        decision = decide(route, f"user-{self.asked % (self.users or 10**9)}", str(self.asked), self.now)
        old = OLD_NAME if decision.incumbent else self.student
        failed = broken and decision.arm == STUDENT and not decision.incumbent
        arm = "teacher" if failed else decision.arm
        reason = "fallback:http_500" if failed else decision.reason
        by = old if arm == STUDENT else None
        one = record(f"id-{self.asked}", self.now, decision, arm, reason, says[by], prompt, by)
        found = [one]
        others: list[str | None] = [self.student] if arm == "teacher" else [None]
        if arm == STUDENT and route.incumbent is not None:
            others.append(self.student if decision.incumbent else OLD_NAME)
        for to in others if decision.shadow and arm == decision.arm else []:
            role, side = ("audit", "teacher") if to is None else ("shadow", "student")
            copy = record(f"{role}-{self.asked}", self.now, decision, side, role, says[to], prompt, to)
            found.append({**copy, "role": role, "parent_id": one["id"]})
        if self.named:
            found = [{**one, "unit": decision.unit, "sampled_p": decision.drawn_bp / BUCKETS} for one in found]
        if self.checks is not None:
            action = "flag" if self.asked % 100 < self.fails_check else "none"
            for answer in found:
                answer["verdicts"] = [{"name": "policy", "action": action}] * (answer["arm"] == STUDENT)
        return found


def record(
    number: str, at: float, decision: Any, arm: str, reason: str, says: str, prompt: str, adapter: str | None
) -> dict[str, Any]:
    """A log record with what rollouts look at."""
    return {
        "id": number, "parent_id": None, "role": "served", "time": at, "route": "triage", "arm": arm,
        "assigned_arm": decision.arm, "reason": reason, "unit_hash": decision.unit_hash, "rollout": decision.rollout,
        "unit_bucket": decision.bucket,
        "route_version": decision.route_version, "copy_wanted": decision.shadow,
        "fallback_reason": reason[9:] if reason.startswith("fallback:") else None,
        "adapter": adapter, "status": 200, "completed": True, "error": None,
        "attempts": [], "verdicts": [], "served_model": None, "client_disconnected": False,
        "bytes_released_before_verdict": 9, "stream": False,
        "timings": {"ttft_ms": 100.0, "total_ms": 200.0}, "usage": {"completion_tokens": 1},
        "request_json": json.dumps({"messages": [{"role": "user", "content": prompt}]}),
        "response_json": json.dumps({"choices": [{"message": {"role": "assistant", "content": says}}]}),
    }  # fmt: skip
