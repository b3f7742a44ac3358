"""`graduand train evaluate`: a student on the frozen test sets, in this process or through an endpoint."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graduand.gateway.errors import ConfigError
from graduand.training.commands import asking, options
from graduand.training.commands.options import Commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graduand.training.data.samples import Sample
    from graduand.training.engines.engine import Engine
    from graduand.training.evaluation.answers import Answer
    from graduand.training.evaluation.evaluate_stage import Ask, Losses
    from graduand.training.stages.progress import Progress
    from graduand.training.teacher.config import Teacher

    AskingBy = Callable[[Engine], tuple[Ask, Losses | None]]

MOST_TOKENS = 256


def add_parser(steps: Commands) -> None:
    """Register `train evaluate`."""
    parser = steps.add_parser("evaluate", help="scores with intervals, paired tests, slices and an error browser")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--adapter", type=Path, metavar="DIR", help="ask this adapter in this process")
    who.add_argument("--endpoint", metavar="URL", help="ask an OpenAI-compatible endpoint; needs --model")
    parser.add_argument("--model", help="with --endpoint: the model's name there")
    parser.add_argument("--key-env", metavar="NAME", help="with --endpoint: the environment variable with its key")
    parser.add_argument("--base", help="with --adapter: the base (default: the one that it was trained on)")
    parser.add_argument("--tests", type=Path, required=True, metavar="DIR", help="a folder with frozen test sets")
    parser.add_argument("--task", required=True, metavar="FILE.yaml", help="the route's task, or YAML itself")
    parser.add_argument("--validation", type=Path, metavar="ROWS.jsonl", help="learn a threshold on these rows")
    parser.add_argument("--train", type=Path, metavar="ROWS.jsonl", help="rows to show beside mistakes")
    parser.add_argument("--against", type=Path, metavar="DIR", help="an earlier evaluation, for the paired test")
    parser.add_argument("--most-tokens", type=options.count, default=MOST_TOKENS, help="of an answer (%(default)s)")
    parser.add_argument(
        "--threads", type=options.counted, default=0, help="CPU threads; 0: all cores, of a worker of Ray one"
    )
    _add_judge(parser)
    options.add_engine(parser)
    options.add_stage(parser, "evaluate")
    parser.set_defaults(run=_run)


def _add_judge(parser: argparse.ArgumentParser) -> None:
    judge = parser.add_argument_group("judge", "compares free text with what was wanted, in both orders")
    judge.add_argument("--judge", metavar="NAME", help="one of --teachers; not of the teacher's own family")
    judge.add_argument(
        "--teachers", type=Path, metavar="FILE.yaml", help="where the judge is asked: base_url, model, …"
    )
    asking.add_purse(judge)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training import evaluation
    from graduand.training.baselines import table
    from graduand.training.data import arrow, labels, scores
    from graduand.training.evaluation import evaluate_stage, judging
    from graduand.training.stages import stage
    from graduand.training.stages.progress import shown

    task = labels.read_any_task(arguments.task)
    what, facts, asking_by = _student(arguments, task)
    judge = _judge(arguments, task)
    named = {name: getattr(arguments, name) for name in ("adapter", "validation", "train", "against")}
    inputs = {"tests": arguments.tests} | {name: path for name, path in named.items() if path is not None}
    parameters = {"task": labels.decoded(arguments.task), "most_tokens": arguments.most_tokens, **facts}
    if judge:
        parameters["judge"] = judge.as_json()
    code = (evaluation, table, scores, labels, arrow)
    plan = stage.Plan(arguments.name, _weights_only(inputs), parameters, code, ("transformers", "torch"))
    with shown() as progress, options.engine_of(arguments, plan, max(1, arguments.threads)) as engine:
        judged_by = judging.Judge(judge, asking.purse_of(arguments, engine)) if judge else None
        paths = arguments.validation, arguments.train, arguments.against
        settings = evaluate_stage.EvaluationSettings(task, what, *paths, judged_by)
        work = evaluate_stage.work(arguments.tests, settings, *asking_by(engine), facts)
        made = stage.run(plan, arguments.out, work, progress)
    return options.tell(made, arguments, [_line(row) for row in made.figures["rows"]])


def _judge(arguments: argparse.Namespace, task: Any) -> "Teacher | None":
    if arguments.judge is None:
        return None
    if task.kind != "text":
        raise ConfigError(f"--judge compares free text, and this task's kind is {task.kind}; leave --judge out")
    return asking.judge_of(arguments)


def _weights_only(inputs: dict[str, Path]) -> dict[str, Path]:
    """An adapter's folder gains an admission and a card later, which are no other student."""
    from graduand.gateway.adapters.adapter import WEIGHTS_FILE

    return {name: path / WEIGHTS_FILE if name == "adapter" else path for name, path in inputs.items()}


def _student(arguments: argparse.Namespace, task: Any) -> "tuple[str, dict[str, Any], AskingBy]":
    """What it is called, what fixes its answers, and how an engine asks it."""
    if arguments.endpoint:
        return _remote(arguments)
    from graduand.gateway.adapters import adapter
    from graduand.training.admission.admit import run_of
    from graduand.training.evaluation import respondent

    files = adapter.read(arguments.adapter)
    base = arguments.base or (run_of(files) or {}).get("config", {}).get("base")
    if base is None:
        raise ConfigError(f"{arguments.adapter} does not say which base it was trained on; give --base")
    # A worker of Ray has one processor unless it is told otherwise.
    threads = arguments.threads or int(arguments.engine == "ray")
    student = respondent.Respondent(base, arguments.adapter, files.digest, threads, task, arguments.most_tokens)

    def asking_by(engine: "Engine") -> "tuple[Ask, Losses]":
        def ask(samples: "Sequence[Sample]", _: Path, progress: "Progress") -> "list[Answer]":
            return respondent.answers(student, task, samples, engine, progress)

        def losses(
            samples: "Sequence[Sample]", wanted: "Sequence[str]", progress: "Progress"
        ) -> list[tuple[float, int]]:
            return respondent.losses(student, samples, wanted, engine, progress)

        return ask, losses

    return arguments.adapter.resolve().name, {"digest": files.digest}, asking_by


def _remote(arguments: argparse.Namespace) -> "tuple[str, dict[str, Any], AskingBy]":
    from graduand.training.evaluation import endpoint
    from graduand.training.teacher.config import KeyIn, Teacher

    if not arguments.model:
        raise ConfigError("--endpoint needs --model, the name of the student there")
    key = KeyIn(env=arguments.key_env) if arguments.key_env else None
    parameters = {"temperature": 0, "max_tokens": arguments.most_tokens}
    student = Teacher(arguments.model, arguments.endpoint, arguments.model, key, None, parameters)

    def asking_by(engine: "Engine") -> "tuple[Ask, None]":
        def ask(samples: "Sequence[Sample]", folder: Path, progress: "Progress") -> "list[Answer]":
            return endpoint.answers(samples, student, folder, arguments.concurrency, progress, engine)

        return ask, None

    return arguments.model, {"endpoint": arguments.endpoint, "model": arguments.model}, asking_by


def _line(row: dict[str, Any]) -> str:
    if "accuracy" in row:
        return f"{row['accuracy']:.4f} [{row['low']:.3f}, {row['high']:.3f}] {row['test_set']:14} {row['what']}"
    judged = f"  as good {row['as_good']:.4f}" if row.get("as_good") is not None else ""
    return f"ROUGE-L {row['rougeL']:.4f}{judged} {row['test_set']:14} {row['what']}"
