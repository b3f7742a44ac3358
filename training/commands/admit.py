"""`graduand train admit`: the adapter gate. Without it `graduand adapters add` refuses."""

import argparse
import os
from pathlib import Path

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train admit`."""
    parser = steps.add_parser("admit", help="prove in a running engine that an adapter is whole and applied")
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="the folder NAME@DIGEST")
    parser.add_argument("--engine", metavar="URL", help="vLLM or `graduand engine` (default: one is started)")
    parser.add_argument("--key-env", metavar="NAME", help="the environment variable with the engine's key")
    parser.add_argument("--base", help="the base (default: the one that the adapter names)")
    parser.add_argument("--name", help="the name to load it under (default: the folder's)")
    parser.add_argument("--data", type=Path, metavar="ROWS.jsonl", help="probes (default: rows that it was trained on)")
    parser.add_argument("--probes", type=options.count, default=8, metavar="N", help="rows to probe (%(default)s)")
    parser.add_argument("--seed", type=options.counted, default=0, help="of the rows drawn")
    parser.add_argument("--evaluation", type=Path, metavar="DIR", help="`train evaluate`'s folder, for the model card")
    parser.add_argument(
        "--vouched-by", metavar="WHO", help="who answers for an adapter that was trained elsewhere; needs --data"
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.admission.admit import Request, admit
    from graduand.training.stages.progress import shown

    request = Request(
        arguments.adapter,
        base=arguments.base,
        name=arguments.name,
        engine=arguments.engine,
        key=key_of(arguments.key_env),
        data=arguments.data,
        rows=arguments.probes,
        seed=arguments.seed,
        evaluation=arguments.evaluation,
        vouched_by=arguments.vouched_by,
    )
    with shown() as progress:
        made = admit(request, progress)
    if arguments.json:
        options.tell_json(made.record)
    else:
        for check in made.record["checks"]:
            print(f"{'passed' if check['passed'] else 'FAILED'}  {check['name']:11} {check['detail']}")
        print(f"{made.record['adapter']} is {'admitted' if made.admitted else 'refused'}")
    return 0 if made.admitted else 1


def key_of(name: str | None) -> str | None:
    """The key in the environment variable of that name, if one is named."""
    if name is not None and not os.environ.get(name):
        raise ConfigError(f"--key-env: the environment variable {name} is not set")
    return os.environ[name] if name is not None else None
