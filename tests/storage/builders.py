"""Facts for tests to query: single rows with few words, and one small wave from brief to file."""

from collections.abc import Mapping
from decimal import Decimal

from imagewave.storage.facts import facts
from imagewave.storage.facts.tables import COLUMNS, RECORDED_AT
from imagewave.storage.requests import digest
from imagewave.storage.store import Store

WAVE = "spring-covers"
REVISION = "0a1b2c3d"
DRAFT_MODEL = "gemini-3.1-flash-lite-image"
FINAL_MODEL = "gemini-3-pro-image"
JUDGE_MODEL = "gemini-3.5-flash-lite"

Row = dict[str, object]


def row(table: str, **values: object) -> Row:
    """A row of the table; columns that are not given are null."""
    return {name: None for name in COLUMNS[table] if name != RECORDED_AT} | values


def put(store: Store, table: str, part: str, *rows: Mapping[str, object]) -> None:
    """Appends the rows, of which only the columns that matter need be given."""
    assert facts.append(store, table, part, [row(table, **values) for values in rows])


def request_id(name: str) -> str:
    """The id of the request that tests call by this name."""
    return digest({"request": name})


def image_id(name: str) -> str:
    """The digest of the image that the request of this name got."""
    return digest({"image": name}) * 2


def usd(text: str) -> Decimal:
    return Decimal(text)


def small_wave(store: Store) -> None:
    """Two briefs, seven drafts (one refused, one broken and tried again), three finals, all files.

    Tulips wants two: t1 to t4 are asked; t3 is refused, t4 fails a screen; t1 and t2 go through.
    Harbour wants one: h1 comes broken, and whole when tried again; the judge turns h2 down; h3
    waits in reserve. Its prompts are a text model's. Paid: drafts 0.02, refusal 0.001, expansion
    0.002, judgements 0.0005, finals 0.07.
    """
    here: Row = {"wave": WAVE, "revision": REVISION}
    put(store, "waves", "run-1", here | {"file": "spring.toml", "spec": "{}", "realm": "sandbox"})
    common = here | {"aspect_ratio": "16:9", "use_case": "blog_header"}
    put(
        store,
        "briefs",
        "run-1",
        common | {"brief": "tulips", "text": "A field of tulips", "want": 2},
        common | {"brief": "harbour", "text": "A quiet harbour", "want": 1},
    )
    template = here | {"brief": "tulips", "source": "template"}
    put(
        store,
        "prompts",
        "run-1",
        template | {"prompt_id": "p-dawn", "text": "Tulips at dawn", "template": "{text} at dawn"},
        template | {"prompt_id": "p-noon", "text": "Tulips at noon", "template": "{text} at noon"},
        here
        | {
            "brief": "harbour",
            "source": "model",
            "template": "",
            "prompt_id": "p-model",
            "text": "A harbour in mist, boats asleep",
            "model": JUDGE_MODEL,
            "request_id": request_id("expand"),
        },
    )
    _expand(store, here)
    _drafts(store, here)
    _verdicts(store, here)
    _finals(store, here)


_PROMPTS = {
    "t1": "p-dawn",
    "t2": "p-dawn",
    "t3": "p-noon",
    "t4": "p-noon",
    "h1": "p-model",
    "h2": "p-model",
    "h3": "p-model",
}


def _brief(name: str) -> str:
    return "tulips" if name.strip("judgefinal-").startswith("t") else "harbour"


def ask(name: str, kind: str, model: str, **values: object) -> Row:
    """A row of requests in the small wave, for the brief that the name says."""
    return {
        "wave": WAVE,
        "revision": REVISION,
        "brief": _brief(name),
        "request_id": request_id(name),
        "prompt_id": _PROMPTS.get(name.split("-")[-1], ""),
        "kind": kind,
        "round": 1,
        "model": model,
        "sample": 0,
        "estimate_usd": usd("0.03"),
        "reused": False,
        **values,
    }


def job(id: str, kind: str, model: str, requests: int, captured: str | None) -> list[Row]:
    """The rows of jobs that a job leaves, until settled or, with None, until accepted."""
    common: Row = {
        "job_id": id,
        "wave": WAVE,
        "revision": REVISION,
        "kind": kind,
        "round": 1,
        "attempt": 1,
        "lane": "gemini-batch",
        "model": model,
        "requests": requests,
        "token": f"{WAVE}-{id}",
    }
    rows = [
        common | {"event": "claimed", "held_usd": usd("0.3")},
        common | {"event": "accepted", "provider_job": f"batches/{id}"},
    ]
    if captured is not None:
        rows.append(
            common
            | {
                "event": "settled",
                "provider_job": f"batches/{id}",
                "state": "succeeded",
                "captured_usd": usd(captured),
            }
        )
    return rows


def result(name: str, job_id: str, kind: str, model: str, cost: str, **values: object) -> Row:
    """A row of results; an image, if nothing else is said."""
    return {
        "request_id": request_id(name),
        "job_id": job_id,
        "wave": WAVE,
        "kind": kind,
        "model": model,
        "attempt": 1,
        "status": "image",
        "failure": "",
        "image": image_id(name),
        "format": "jpeg",
        "prompt_tokens": 20,
        "image_tokens": 1120,
        "cost_usd": usd(cost),
        **values,
    }


def _expand(store: Store, here: Row) -> None:
    put(store, "requests", "expand-1", ask("expand", "expand", JUDGE_MODEL, brief="harbour"))
    put(store, "jobs", "expand-1", *job("job-expand", "expand", JUDGE_MODEL, 1, "0.002"))
    answer = {"status": "text", "image": "", "text": '["A harbour in mist, boats asleep"]'}
    put(
        store,
        "results",
        "expand-1",
        result("expand", "job-expand", "expand", JUDGE_MODEL, "0.002", **answer),
    )


def _drafts(store: Store, here: Row) -> None:
    put(
        store,
        "requests",
        "draft-1",
        *(
            ask(name, "draft", DRAFT_MODEL, sample=number, seed=100 + number, size="1K")
            for number, name in enumerate(_PROMPTS)
        ),
    )
    put(store, "jobs", "draft-1", *job("job-draft", "draft", DRAFT_MODEL, 7, "0.121"))
    put(store, "jobs", "draft-2", *job("job-again", "draft", DRAFT_MODEL, 1, "0.02"))
    refused = {"status": "refused", "failure": "refused", "reason": "IMAGE_SAFETY", "image": ""}
    broken = {"status": "failed", "failure": "broken", "reason": "does not decode"}
    first = [
        result(name, "job-draft", "draft", DRAFT_MODEL, "0.02")
        for name in ("t1", "t2", "t4", "h2", "h3")
    ]
    first.append(result("t3", "job-draft", "draft", DRAFT_MODEL, "0.001", **refused))
    first.append(result("h1", "job-draft", "draft", DRAFT_MODEL, "0.02", **broken))
    put(store, "results", "draft-1", *first)
    put(
        store,
        "results",
        "draft-2",
        result("h1", "job-again", "draft", DRAFT_MODEL, "0.02", attempt=2),
    )
    put(
        store,
        "findings",
        "draft-1",
        {
            "wave": WAVE,
            "job_id": "job-draft",
            "kind": "unknown key",
            "key": "x",
            "detail": "1 line",
        },
    )
    drawn = ("t1", "t2", "t4", "h1", "h2", "h3")
    put(
        store,
        "images",
        "draft-1",
        *(
            {"image": image_id(name), "format": "jpeg", "mime": "image/jpeg", "bytes": 300_000}
            for name in drawn
        ),
    )
    put(
        store,
        "metrics",
        "draft-1",
        *(
            {"image": image_id(name), "width": 1376, "height": 768, "error": "", "blur": 1.2}
            for name in drawn
        ),
    )


def _verdicts(store: Store, here: Row) -> None:
    drawn = ("t1", "t2", "t4", "h1", "h2", "h3")
    put(
        store,
        "screens",
        "draft-1",
        *(
            here
            | {
                "brief": _brief(name),
                "request_id": request_id(name),
                "image": image_id(name),
                "check_name": check,
                "value": value,
                "threshold": threshold,
                "verdict": "fail" if (name, check) == ("t4", "blur") else "pass",
            }
            for number, name in enumerate(drawn)
            for check, value, threshold in (
                ("blur", 0.12 if name == "t4" else (80 + 20 * number) / 100, 0.3),
                ("border", number / 100, 0.05),
            )
        ),
    )
    scores = {"t1": 0.9, "t2": 0.8, "h1": 0.7, "h2": 0.2, "h3": 0.6}
    put(
        store,
        "requests",
        "judge-1",
        *(ask(f"judge-{name}", "judge", JUDGE_MODEL, about=request_id(name)) for name in scores),
    )
    put(store, "jobs", "judge-1", *job("job-judge", "judge", JUDGE_MODEL, 5, "0.0025"))
    answer = {"status": "text", "image": "", "text": "{}"}
    put(
        store,
        "results",
        "judge-1",
        *(
            result(f"judge-{name}", "job-judge", "judge", JUDGE_MODEL, "0.0005", **answer)
            for name in scores
        ),
    )
    put(
        store,
        "judgements",
        "judge-1",
        *(
            here
            | {
                "brief": _brief(name),
                "request_id": request_id(name),
                "image": image_id(name),
                "judge_request_id": request_id(f"judge-{name}"),
                "model": JUDGE_MODEL,
                "brief_fit": score,
                "composition": score,
                "defects": score,
                "score": score,
                "verdict": "pass" if score >= 0.5 else "fail",
                "reason": "as asked" if score >= 0.5 else "another subject",
                "cost_usd": usd("0.0005"),
            }
            for name, score in scores.items()
        ),
    )
    decided = {
        "t1": "accepted",
        "t2": "accepted",
        "t4": "rejected",
        "h1": "accepted",
        "h2": "rejected",
        "h3": "reserve",
    }
    put(
        store,
        "decisions",
        "draft-1",
        *(
            here
            | {
                "brief": _brief(name),
                "request_id": request_id(name),
                "image": image_id(name),
                "tier": "draft",
                "round": 1,
                "decision": decision,
                "rank": number,
                "score": scores.get(name),
                "reason": "blur" if name == "t4" else "",
            }
            for number, (name, decision) in enumerate(decided.items())
        ),
    )


def _finals(store: Store, here: Row) -> None:
    chosen = ("t1", "t2", "h1")
    put(
        store,
        "requests",
        "final-1",
        *(
            ask(
                f"final-{name}",
                "final",
                FINAL_MODEL,
                reference=image_id(name),
                about=request_id(name),
                size="2K",
            )
            for name in chosen
        ),
    )
    put(store, "jobs", "final-1", *job("job-final", "final", FINAL_MODEL, 3, "0.21"))
    put(
        store,
        "results",
        "final-1",
        *(result(f"final-{name}", "job-final", "final", FINAL_MODEL, "0.07") for name in chosen),
    )
    put(
        store,
        "decisions",
        "final-1",
        *(
            here
            | {
                "brief": _brief(name),
                "request_id": request_id(f"final-{name}"),
                "image": image_id(f"final-{name}"),
                "tier": "final",
                "round": 1,
                "decision": "accepted",
                "rank": 1,
            }
            for name in chosen
        ),
    )
    put(
        store,
        "assets",
        "final-1",
        *(
            here
            | {
                "brief": _brief(name),
                "asset": f"assets/{WAVE}/{_brief(name)}/{name}.jpg",
                "image": image_id(f"final-{name}"),
                "request_id": request_id(f"final-{name}"),
                "draft_image": image_id(name),
                "format": "jpeg",
                "width": 2752,
                "height": 1536,
                "bytes": 900_000,
            }
            for name in chosen
        ),
    )
