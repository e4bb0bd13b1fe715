"""Builds stores with the facts of a finished wave, as a report finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import orjson

from imagewave.sandbox.answers import pictures
from imagewave.storage.facts import facts
from imagewave.storage.images import StoredImage, put_image
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.requests import digest
from imagewave.storage.store import Store

WAVE, REVISION = "spring-covers", "0a1b2c3d"
DRAFT_MODEL, FINAL_MODEL = "gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1"
DRAFT_USD, FINAL_USD = Decimal("0.0168"), Decimal("0.0252")

# What becomes of a brief's drafts, in turn.
FATES = (
    "final",
    "accepted",
    "reserve",
    "blur",
    "judge",
    "refused",
    "failed",
    "duplicate",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BriefOf:
    """A brief to build: its texts, and the fate of each of its drafts."""

    id: str
    text: str = "A field of tulips at dawn"
    prompt: str = "Tulips in morning fog, wide angle, soft light"
    message: str = "The picture was blocked."
    aspect_ratio: str = "16:9"
    fates: tuple[str, ...] = FATES


def build(
    store: Store,
    briefs: Sequence[BriefOf],
    *,
    edge: int = 192,
    pictures_made: int = 10_000,
    finding: str = "no line for this key",
) -> None:
    """Writes one wave. `edge` is the pictures' longer edge; after `pictures_made`, they repeat."""
    builder = _Builder(store, edge, pictures_made)
    for brief in briefs:
        builder.add(brief)
    builder.findings.append(
        {
            "wave": WAVE,
            "job_id": "j" * 32,
            "kind": "missing",
            "key": "k1",
            "detail": finding,
        }
    )
    builder.write()


class _Builder:
    def __init__(self, store: Store, edge: int, pictures_made: int) -> None:
        self.store = store
        self.edge = edge
        self.pictures_made = pictures_made
        self.made: list[StoredImage] = []
        self.findings: list[Mapping[str, object]] = []
        self.rows: dict[str, list[dict[str, object]]] = {
            table: []
            for table in [
                "briefs",
                "prompts",
                "requests",
                "results",
                "images",
                "metrics",
                "screens",
                "judgements",
                "decisions",
                "assets",
            ]
        }

    def add(self, brief: BriefOf) -> None:
        self._row(
            "briefs",
            brief=brief.id,
            text=brief.text,
            want=1,
            aspect_ratio=brief.aspect_ratio,
            use_case="",
            variables="{}",
            folder=brief.id,
        )
        self._row(
            "prompts",
            brief=brief.id,
            prompt_id=f"p-{brief.id}",
            text=brief.prompt,
            variant=0,
            template="",
            source="template",
            model="",
            request_id="",
        )
        for sample, fate in enumerate(brief.fates):
            self._draft(brief, sample, fate)

    def _draft(self, brief: BriefOf, sample: int, fate: str) -> None:
        request_id = self._request(brief, "draft", DRAFT_MODEL, sample)
        if fate in ("refused", "failed", "pending"):
            if fate != "pending":
                self._result(brief, request_id, "draft", DRAFT_MODEL, Decimal(0), fate)
            return
        image = self._picture(brief, f"{brief.id}-{sample}")
        self._result(brief, request_id, "draft", DRAFT_MODEL, DRAFT_USD, "image", image)
        for check, value, threshold in (("blur", 180.0, 25.0), ("duplicate", 0.0, 6.0)):
            bad = fate == check
            self._row(
                "screens",
                brief=brief.id,
                request_id=request_id,
                image=image.sha256,
                check_name=check,
                value=3.25 if bad else value,
                threshold=threshold,
                verdict="fail" if bad else "pass",
                detail="like another draft" if bad and check == "duplicate" else "",
            )
        if fate in ("blur", "duplicate"):
            self._decision(brief, request_id, image, "draft", "rejected", sample, fate)
            return
        good = fate != "judge"
        self._row(
            "judgements",
            brief=brief.id,
            request_id=request_id,
            image=image.sha256,
            judge_request_id=digest(["judge", request_id]),
            model="gemini-3.5-flash-lite",
            rubric="strict",
            brief_fit=0.9 if good else 0.3,
            composition=0.8,
            defects=0.95,
            legibility=None,
            score=0.86 - sample / 100 if good else 0.31,
            verdict="pass" if good else "fail",
            reason="Shows the brief." if good else brief.message,
            cost_usd=Decimal("0.0004"),
        )
        kind = {"final": "accepted", "judge": "rejected"}.get(fate, fate)
        self._decision(brief, request_id, image, "draft", kind, sample, "")
        if fate == "final":
            self._final(brief, request_id, image)

    def _final(self, brief: BriefOf, draft: str, draft_image: StoredImage) -> None:
        request_id = self._request(brief, "final", FINAL_MODEL, 0, draft_image.sha256, draft)
        reference = self.store.read(draft_image.path)
        image = self._picture(brief, f"{brief.id}-final", reference)
        self._result(brief, request_id, "final", FINAL_MODEL, FINAL_USD, "image", image)
        self._decision(brief, request_id, image, "final", "accepted", 0, "")
        self._row(
            "assets",
            brief=brief.id,
            asset=f"assets/{WAVE}/{brief.id}/{brief.id}-1.jpg",
            image=image.sha256,
            request_id=request_id,
            draft_image=draft_image.sha256,
            format="jpeg",
            width=self.edge,
            height=self.edge,
            bytes=image.size,
        )

    def _request(
        self,
        brief: BriefOf,
        kind: str,
        model: str,
        sample: int,
        image: str = "",
        about: str = "",
    ) -> str:
        request_id = digest([brief.id, kind, sample])
        self._row(
            "requests",
            brief=brief.id,
            prompt_id=f"p-{brief.id}",
            request_id=request_id,
            kind=kind,
            round=1,
            model=model,
            sample=sample,
            seed=1000 + sample,
            aspect_ratio=brief.aspect_ratio,
            size="1K",
            reference=image,
            about=about,
            estimate_usd=DRAFT_USD,
            reused=False,
            request=orjson.dumps({"kind": kind, "model": model, "prompt": brief.prompt}).decode(),
        )
        return request_id

    def _result(
        self,
        brief: BriefOf,
        request_id: str,
        kind: str,
        model: str,
        cost: Decimal,
        status: str,
        image: StoredImage | None = None,
    ) -> None:
        failure, reason = {
            "refused": ("refused", "IMAGE_SAFETY"),
            "failed": ("transient", "INTERNAL"),
        }.get(status, ("", ""))
        self.rows["results"].append(
            {
                "request_id": request_id,
                "job_id": _job(kind),
                "wave": WAVE,
                "kind": kind,
                "model": model,
                "attempt": 1,
                "status": status,
                "failure": failure,
                "reason": reason,
                "message": brief.message if failure else "",
                "image": image.sha256 if image else "",
                "format": image.format if image else "",
                "text": "",
                "prompt_tokens": 40,
                "image_tokens": 1120 if image else 0,
                "text_tokens": 0,
                "thought_tokens": 0,
                "reference_tokens": 0,
                "cost_usd": cost,
            }
        )

    def _picture(self, brief: BriefOf, name: str, reference: bytes | None = None) -> StoredImage:
        across, _, down = brief.aspect_ratio.partition(":")
        scale = self.edge / max(int(across), int(down))
        if len(self.made) >= self.pictures_made:
            return self.made[len(self.rows["results"]) % len(self.made)]
        recipe = pictures.Recipe(
            model="sandbox",
            prompt=brief.prompt,
            nonce=name,
            width=int(int(across) * scale),
            height=int(int(down) * scale),
            references=(reference,) if reference else (),
        )
        image = put_image(self.store, pictures.encode(pictures.draw(recipe)))
        self.made.append(image)
        self.rows["images"].append(
            {
                "image": image.sha256,
                "format": image.format,
                "mime": "image/jpeg",
                "bytes": image.size,
                "path": image.path,
            }
        )
        measured = dict.fromkeys(
            [
                "brightness",
                "p05",
                "p95",
                "contrast",
                "blur",
                "entropy",
                "border",
                "cast",
            ],
            0.5,
        )
        self.rows["metrics"].append(
            {
                "image": image.sha256,
                "width": recipe.width,
                "height": recipe.height,
                "error": "",
                "phash": "0" * 16,
                **measured,
            }
        )
        return image

    def _decision(
        self,
        brief: BriefOf,
        request_id: str,
        image: StoredImage,
        tier: str,
        decision: str,
        rank: int,
        reason: str,
    ) -> None:
        self._row(
            "decisions",
            brief=brief.id,
            request_id=request_id,
            image=image.sha256,
            tier=tier,
            round=1,
            decision=decision,
            rank=rank,
            score=None,
            reason=reason,
        )

    def _row(self, table: str, **values: object) -> None:
        self.rows[table].append({"wave": WAVE, "revision": REVISION, **values})

    def write(self) -> None:
        store, ledger = self.store, Ledger(self.store)
        facts.append(
            store,
            "waves",
            "w",
            [
                {
                    "wave": WAVE,
                    "revision": REVISION,
                    "file": "examples/spring-covers.toml",
                    "spec": "{}",
                    "realm": "sandbox",
                    "series": WAVE,
                    "edition": "",
                }
            ],
        )
        for table, rows in self.rows.items():
            facts.append(store, table, "p", rows)
        facts.append(store, "findings", "p", self.findings)
        for kind, model in (("draft", DRAFT_MODEL), ("final", FINAL_MODEL)):
            costs = [row["cost_usd"] for row in self.rows["results"] if row["kind"] == kind]
            cost = sum((usd for usd in costs if isinstance(usd, Decimal)), Decimal(0))
            job_id = _job(kind)
            ledger.hold(job_id, WAVE, cost + 1, Budget())
            ledger.capture(job_id, cost)
            for event in ("claimed", "accepted", "settled"):
                facts.append(
                    store,
                    "jobs",
                    f"{kind}-{event}",
                    [
                        {
                            "job_id": job_id,
                            "wave": WAVE,
                            "revision": REVISION,
                            "kind": kind,
                            "round": 1,
                            "attempt": 1,
                            "lane": "gemini-batch",
                            "model": model,
                            "requests": len(costs),
                            "event": event,
                            "token": "",
                            "provider_job": f"batches/{kind}",
                            "state": "succeeded" if event == "settled" else "",
                            "held_usd": cost + 1,
                            "captured_usd": cost,
                            "message": "",
                        }
                    ],
                )


def _job(kind: str) -> str:
    return digest(["job", kind])
