"""What may help briefs that got fewer pictures than they want, and what it costs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imagewave.cli.terminal.advice import command
from imagewave.storage.facts.analytics import query
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.store import Store
from imagewave.tasks.reporting.standing import ShortBrief
from imagewave.words import counted

if TYPE_CHECKING:
    from imagewave.tasks.rerun import Failure, Price


def way_out(store: Store, wave: str, short: Sequence[ShortBrief]) -> str:
    """What may help those briefs, with the price of each command: it picks for them alone."""
    again = _again(store, wave)
    causes = {cause for brief in short for cause in brief.causes}
    stops = {brief.stopped for brief in short}
    ways = []
    if failed := again.get("failed"):
        ways.append(f"try {failed}")
    if stops & {"low acceptance", "refused"} or causes & {"screens", "judge", "refused"}:
        ways.append("change the prompts, or the thresholds that their pictures fail")
    if refused := again.get("refused"):
        ways.append(f"send what was refused again as it is by {refused}")
    if rejected := again.get("rejected"):
        ways.append(f"draw what was rejected once more by {rejected}")
    # Where nothing passes, more of the same is no remedy.
    if any(brief.accepted and brief.stopped != "low acceptance" for brief in short) or not ways:
        ways.append("ask for more drafts ([draft] max_oversample and max_rounds)")
    return f"To get them, {', or '.join(ways)}."


def _again(store: Store, wave: str) -> dict[str, str]:
    """The commands that make requests of short briefs again, by what became of these."""
    from imagewave.tasks.rerun import failures, price, remembered

    (row,) = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave])
    known = remembered(store, wave)
    by_fate: dict[str, list[Failure]] = {}
    for failure in failures(store, wave, row["revision"], _OF_SHORT):
        fate = failure.status if failure.status in _FLAGS else "failed"
        by_fate.setdefault(fate, []).append(failure)
    return {
        fate: f"{command(store, f'rerun {wave}{_FLAGS[fate]}')}"
        f" ({in_words(picked, price(picked, known), store.realm)})"
        for fate, picked in by_fate.items()
    }


_OF_SHORT = "short AND status IN ('failed', 'missing', 'refused', 'rejected')"
_FLAGS = {"failed": "", "refused": " --refused", "rejected": " --rejected"}


def in_words(picked: Sequence["Failure"], price: "Price", realm: Realm | None) -> str:
    """How many requests a rerun in that realm makes, and what it is estimated to cost."""
    words = f"{counted(len(picked), 'request')}, about ${price.requests:.4f}"
    note = f"; {NO_REAL_MONEY}" if realm is Realm.SANDBOX else ""
    if price.all is not None:
        return f"{words}, at most ${price.all:.4f} with judging and finals{note}"
    return f"{words}, judging and finals extra{note}"
