"""The product with one fault put into it: what the simulator must find, each within some runs.

Each is a text of a module and what stands in its place. Where a comment says "found", the fault was
the product's own, found here and mended since.
"""

import importlib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in `module`, `old` is replaced by `new`. `quick` ones are caught soon."""

    name: str
    module: str
    old: str
    new: str
    quick: bool = False


_SUBMIT = "imagewave.tasks.jobs.submit"
_JOBS = "imagewave.storage.jobs.folder"
_LEDGER = "imagewave.storage.money.ledger"
_COLLECT = "imagewave.tasks.collecting.collect"
_SHARD = "imagewave.tasks.jobs.shard"
_CALLS = "imagewave.storage.jobs.calls"

MUTANTS = (
    Mutant(
        "takes over a claim that is alive",
        _SUBMIT,
        "return claim.token in self.memory.unanswered or claim.claimer.known_dead() or expired",
        "return True",
    ),
    Mutant(
        "does not wait for the list to catch up",
        _SUBMIT,
        "left = deadline - clock.steady()",
        "left = 0.0",
        quick=True,
    ),
    Mutant(
        "never looks into the provider's list",
        _SUBMIT,
        "return self._adopt(standing), claims",
        "return None, claims",
        quick=True,
    ),
    # Found: the age was counted from after the hold.
    Mutant(
        "does not look how old its claim is",
        _SUBMIT,
        "while clock.steady() - self.claimed_at > self.adoption.fresh_s:",
        "while False:",
    ),
    Mutant(
        "takes a doubt for a no",
        _SUBMIT,
        "self.memory.unanswered.add(intent.token)",
        'self._give_back(intent, "no answer")',
        quick=True,
    ),
    Mutant(
        "does not see that others ask for the same",
        _SUBMIT,
        "for other in _sharing(self.store, job_id, earlier):",
        "for other in list[str]():",
        quick=True,
    ),
    Mutant(
        "does not see that it was answered meanwhile",
        _SUBMIT,
        "if not analytics.answered(self.store, (r.id for r in self.folder.requests())):",
        "if True:",
        quick=True,
    ),
    Mutant(
        "asks without a hold",
        _SUBMIT,
        "if not self._hold(intent, budget, siblings):",
        "if False:",
        quick=True,
    ),
    Mutant(
        "keeps the hold of what was refused",
        _SUBMIT,
        "            self.ledger.release(self.folder.job_id, self.owned)",
        "            pass",
    ),
    Mutant(
        "keeps the hold of a job that is not needed any more",
        _SUBMIT,
        "if not self.ledger.release(job_id, self.owned):",
        "if False:",
        quick=True,
    ),
    # Found: a claimer that was frozen gave back the hold of who had taken its job over.
    Mutant(
        "believes that every claim is its own",
        _JOBS,
        'return intent if self._put(self._path("intent", intent.generation), intent) else None',
        'self._put(self._path("intent", intent.generation), intent); return intent',
    ),
    Mutant(
        "forgets the budget",
        _LEDGER,
        "if closed and closed.captured:\n                return None\n"
        "            self._check(books.state(at), wave, amount, budget)",
        "if closed and closed.captured:\n                return None",
        quick=True,
    ),
    Mutant(
        "counts what is spent, not what is held",
        _LEDGER,
        "spent + held + wanted > limit",
        "spent + wanted > limit",
        quick=True,
    ),
    Mutant(
        "takes a rival's entry for its own",
        _LEDGER,
        "if written.nonce == entry.nonce:",
        "if True:",
    ),
    Mutant(
        "captures a job as often as it is told",
        _LEDGER,
        "if closed.captured:\n                return None",
        "if False:\n                return None",
        quick=True,
    ),
    Mutant(
        "settles without a capture",
        _COLLECT,
        "Ledger(store).capture(job_id, captured)",
        "pass",
        quick=True,
    ),
    Mutant(
        "counts an answer without usage as free",
        _COLLECT,
        "return share",
        "return Decimal(0)",
        quick=True,
    ),
    Mutant(
        "leaves the cost of a line without key out",
        _COLLECT,
        "if (stray := next(strays, None)) is not None:",
        "if False:",
    ),
    Mutant(
        "takes nothing from a job that did not succeed",
        "imagewave.tasks.collecting.delivered",
        "if status.state is JobState.GONE:",
        "if status.state is not JobState.SUCCEEDED:",
        quick=True,
    ),
    Mutant(
        "settles before the results are written",
        _COLLECT,
        '    facts.append(store, "results", job_id, rows)\n',
        "",
        quick=True,
    ),
    Mutant(
        "takes what is late for lost",
        _COLLECT,
        "if (clock.now() - since).total_seconds() < missing_hours * 3600:",
        "if False:",
        quick=True,
    ),
    # Found: two waves with the same requests shared a job, and one spent the other's budget.
    Mutant(
        "gives two waves one job",
        _SHARD,
        'f"{round.wave} {round.label}.{attempt}"',
        'f"{round.label}.{attempt}"',
    ),
    Mutant(
        "asks again for what was refused",
        _SHARD,
        "return bool(failure) and retryable(",
        "return True or retryable(",
    ),
    Mutant(
        "calls a line that another process has claimed",
        _CALLS,
        'return self._put(f"{number}.claim", orjson.dumps(claim))',
        'self._put(f"{number}.claim", orjson.dumps(claim)); return True',
    ),
    Mutant(
        "gives up calls that are under way",
        _CALLS,
        "if claim.claimer.known_dead():",
        "if True:",
    ),
    # Found: a budget that was used up kept jobs from being collected that were paid for.
    Mutant(
        "leaves what is paid for when the budget is used up",
        "imagewave.tasks.jobs.sending",
        "return bool(folder.accepted() or folder.standing(folder.intents()))",
        "return False",
    ),
    Mutant(
        "does not harvest what was given up",
        "imagewave.tasks.jobs.settling",
        "if not status.state.done:\n        return True",
        "return True",
    ),
    # Found: a run that died between two writes made every later look of `watch` fail.
    Mutant(
        "stumbles over a job without a plan",
        "imagewave.tasks.jobs.handed_over",
        "except FileNotFoundError:",
        "except ZeroDivisionError:",
    ),
    Mutant(
        "does not see that jobs have ended",
        "imagewave.tasks.jobs.handed_over",
        "        if status.state.done:\n            jobs.done",
        "        if False:\n            jobs.done",
    ),
)


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Has the product be so for the time of the block.

    Functions keep their identity and get another body, so that whoever has imported one before
    gets the fault as well.
    """
    module = importlib.import_module(mutant.module)
    assert module.__file__ is not None
    source = Path(module.__file__).read_text("utf-8")
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {source.count(mutant.old)} places in {mutant.module}")
    changed = types.ModuleType(mutant.module)
    changed.__file__ = module.__file__
    code = compile(source.replace(mutant.old, mutant.new), module.__file__, "exec")
    exec(code, changed.__dict__)  # our own source, with one place changed
    before = []
    for name, function in _functions(module.__dict__, mutant.module):
        other = dict(_functions(changed.__dict__, mutant.module)).get(name)
        if other is not None and other.__code__ != function.__code__:
            before.append((function, function.__code__))
            function.__code__ = other.__code__
    try:
        yield
    finally:
        for function, body in before:
            function.__code__ = body


def _functions(
    names: dict[str, object], module: str, prefix: str = ""
) -> Iterator[tuple[str, types.FunctionType]]:
    for name, value in names.items():
        if isinstance(value, property):
            value = value.fget
        value = getattr(value, "__wrapped__", getattr(value, "__func__", value))
        if isinstance(value, types.FunctionType) and value.__module__ == module:
            yield prefix + name, value
        elif isinstance(value, type) and value.__module__ == module:
            yield from _functions(dict(vars(value)), module, f"{prefix}{name}.")
