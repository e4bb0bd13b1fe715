"""Answers single calls, for the APIs that know no batch's key: what is asked stands in for one."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable

from imagewave.sandbox.answers.answering import Answer, answer
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.ledger import Entry
from imagewave.sandbox.core.models import draws
from imagewave.sandbox.core.prices import bill


def answer_call(
    service: Service,
    calls: Counter[str],
    ask: Ask,
    settled: Callable[[Ask | None, Answer], Answer],
) -> Answer:
    """The answer to one call, in the provider's words, and its line in the ledger.

    `calls` counts how often each thing was asked: the same call draws another picture each time,
    and defects that pass do so.
    """
    asked = f"{ask.model.id}\0{ask.system}\0{ask.prompt}\0{ask.seed}"
    key = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
    defects = service.config.defects.choose(
        seed=service.config.seed,
        key=key,
        prompt=ask.prompt,
        wants_image=draws(ask.model),
        has_references=bool(ask.images),
        asked_before=calls[key],
    )
    drawn = f"{key}/{calls[key]}"
    calls[key] += 1
    answered = settled(ask, answer(ask, key=drawn, defects=defects, tiny=service.config.tiny))
    service.ledger.record(
        [
            Entry(
                time=time.time(),
                job=f"calls/{new_id()}",
                line=0,
                key=None,
                model=ask.model.id,
                batch=False,
                outcome=answered.outcome,
                reason=answered.reason,
                tokens=answered.tokens,
                usd=bill(ask.model.id, answered.tokens, batch=False),
                defects=tuple(sorted(defects)),
            )
        ]
    )
    return answered
