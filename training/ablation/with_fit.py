"""`train fit` as the thing that is ablated: an adapter for each size and seed, asked in this process. Hours on a CPU.

Each adapter is made once: `train fit` finds what it has made, and goes on with what was killed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from graduand.rollout.answers.tasks import Task
from graduand.training.ablation.ablate_stage import Learn
from graduand.training.data.samples import Sample, write_samples
from graduand.training.evaluation.local import Student
from graduand.training.fit.fit import fit
from graduand.training.fit.run_config import FitConfig
from graduand.training.stages.progress import Progress


def learner(task: Task, config: FitConfig, progress: Progress) -> Learn:
    """Fit `config` to each subset; rows and adapters are kept under its `out`."""

    def learn(
        samples: Sequence[Sample], _: Sequence[str], seed: int, tests: Mapping[str, Sequence[Sample]]
    ) -> dict[str, list[str | None]]:
        name = f"{config.name}-{len(samples)}-seed-{seed}"
        rows = Path(config.out) / f"{name}.jsonl"
        write_samples(rows, samples)
        made = fit(config.model_copy(update={"data": rows, "name": name, "seed": seed}), progress)
        student = Student(config.base, made.path, config.threads)
        asked = {test: student.label_answers(task, each, progress) for test, each in tests.items()}
        return {test: [answer.label(task) for answer in found] for test, found in asked.items()}

    return learn
