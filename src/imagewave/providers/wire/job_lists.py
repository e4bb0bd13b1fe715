"""A page of a provider's list of jobs.

A job that is not listed does not exist, and is asked for again. So a list that cannot be read to
its end, entry by entry, counts as no list.
"""

from collections.abc import Mapping
from typing import Any

from imagewave.providers.protocol import Unavailable
from imagewave.providers.wire.fields import text_of


def jobs_on(
    page: Mapping[str, Any], field: str, *, name: str, provider: str, may_lack_field: bool = False
) -> list[dict[str, Any]]:
    """The jobs in this field of the page, each of which has a name.

    `may_lack_field`: the provider leaves the field out where there are none.

    Raises:
        Unavailable: the field is no list, or an entry of it has no name.
    """
    jobs = page.get(field)
    if jobs is None and may_lack_field:
        return []
    if not isinstance(jobs, list):
        raise Unavailable(f"{provider}'s list of jobs cannot be read: its page has no {field!r}.")
    for number, job in enumerate(jobs):
        if not isinstance(job, dict) or not text_of(job.get(name)):
            raise Unavailable(
                f"{provider}'s list of jobs cannot be read: entry {number} of a page has no"
                f" {name!r}, so it may be a job of ours."
            )
    return jobs


def next_of(
    page: Mapping[str, Any], jobs: list[dict[str, Any]], *, name: str, provider: str
) -> str | None:
    """The name after which the next page begins; None after the last page.

    Raises:
        Unavailable: there is said to be more, after nothing.
    """
    if not page.get("has_more"):
        return None
    if not jobs:
        raise Unavailable(f"{provider}'s list of jobs cannot be read: it ends before its end.")
    return text_of(jobs[-1].get(name))
