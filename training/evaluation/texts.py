"""Scores of answers that are no labels: objects by their schema and fields, free text by ROUGE. Pure.

ROUGE by the reference implementation (Lin 2004, package rouge-score); schema adherence by the route's own task. Free text
is only judged by a judge: ROUGE says how alike two texts are, not which is better.
"""

import math
from collections.abc import Sequence
from typing import Any

from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.tasks import Task
from graduand.training.data.scores import wilson

KINDS = ("rouge1", "rouge2", "rougeL")


def of_objects(task: Task, wanted: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """How many answers can be read, fit the schema and equal the wanted object, in all and by field."""
    found = [compare(task, gold, answer) for gold, answer in zip(wanted, said, strict=True)]
    scored = [each for each in found if each.agreed is not None]
    if not scored:
        return {"rows": 0, "unscored": len(found)}
    right = sum(each.agreed is True for each in scored)
    low, high = wilson(right, len(scored))
    fields = sorted({name for each in scored for name in each.fields})
    return {
        "rows": len(scored), "unscored": len(found) - len(scored), "right": right, "accuracy": right / len(scored),
        "low": low, "high": high,
        "adherence": sum(not each.unparsed for each in scored) / len(scored),
        "fields": {name: sum(each.fields.get(name, False) for each in scored) / len(scored) for name in fields},
    }  # fmt: skip


def of_texts(wanted: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Mean ROUGE F measures, each 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    found = [scorer.score(gold, answer) for gold, answer in zip(wanted, said, strict=True)]
    means = {kind: sum(each[kind].fmeasure for each in found) / max(1, len(found)) for kind in KINDS}
    return {"rows": len(found), **means}


def perplexity(lost: Sequence[tuple[float, int]]) -> float:
    """Exp of the mean cross-entropy by token; each answer's sum and number of tokens.

    >>> perplexity([(0.0, 1), (math.log(4.0), 1)])
    2.0
    """
    return math.exp(sum(loss for loss, _ in lost) / sum(tokens for _, tokens in lost))
