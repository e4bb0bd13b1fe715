"""The fact tables: their columns and keys, declared once for those who write and those who ask.

Types: `text`; `bool`; `int` (32 bit); `long` (64 bit); `double`; `usd` (decimal, 9 digits after
the point); `time` (UTC, microseconds). Every table also has `recorded_at time`, which
`facts.append` fills in. A key names the columns that tell two facts apart: rows with equal keys are
the same fact recorded twice, and the views keep one of them.
"""

RECORDED_AT = "recorded_at"

COLUMNS: dict[str, dict[str, str]] = {
    table: dict(column.split() for column in columns.split(", ")) | {RECORDED_AT: "time"}
    for table, columns in {
        "waves": (
            "wave text, revision text, file text, spec text, realm text, series text, edition text"
        ),
        "briefs": (
            "wave text, revision text, brief text, text text, want int, aspect_ratio text, "
            "use_case text, variables text, folder text"
        ),
        "prompts": (
            "wave text, revision text, brief text, prompt_id text, text text, variant int, "
            "template text, source text, model text, request_id text"
        ),
        "requests": (
            "wave text, revision text, brief text, prompt_id text, request_id text, kind text, "
            "round int, model text, sample int, seed long, aspect_ratio text, size text, "
            "reference text, about text, estimate_usd usd, reused bool, request text"
        ),
        "submissions": "job_id text, request_id text, attempt int",
        "jobs": (
            "job_id text, wave text, revision text, kind text, round int, attempt int, lane text, "
            "model text, requests int, event text, token text, provider_job text, state text, "
            "held_usd usd, captured_usd usd, message text"
        ),
        "results": (
            "request_id text, job_id text, wave text, kind text, model text, attempt int, "
            "status text, failure text, reason text, message text, image text, format text, "
            "text text, prompt_tokens long, image_tokens long, text_tokens long, "
            "thought_tokens long, reference_tokens long, cost_usd usd"
        ),
        "images": "image text, format text, mime text, bytes long, path text",
        "metrics": (
            "image text, width int, height int, error text, brightness double, p05 double, "
            "p95 double, contrast double, blur double, entropy double, border double, "
            "cast double, phash text"
        ),
        "screens": (
            "wave text, revision text, brief text, request_id text, image text, check_name text, "
            "value double, threshold double, verdict text, detail text"
        ),
        "judgements": (
            "wave text, revision text, brief text, request_id text, image text, "
            "judge_request_id text, model text, rubric text, brief_fit double, "
            "composition double, defects double, legibility double, score double, verdict text, "
            "reason text, cost_usd usd"
        ),
        "decisions": (
            "wave text, revision text, brief text, request_id text, image text, tier text, "
            "round int, decision text, rank int, score double, reason text"
        ),
        "assets": (
            "wave text, revision text, brief text, asset text, image text, request_id text, "
            "draft_image text, format text, width int, height int, bytes long"
        ),
        "variants": (
            "wave text, revision text, brief text, variant text, asset text, image text, "
            "recipe text, format text, width int, height int, bytes long, sha256 text, "
            "colour text, source_type text"
        ),
        "steps": (
            "wave text, revision text, brief text, round int, drafts int, reason text, want int, "
            "accepted int, tried int, cap int, rate double, rate_low double, rate_high double, "
            "chance double, prior text, detail text"
        ),
        "renders": (
            "wave text, job_id text, request_id text, model text, numerics_id text, "
            "gpu_seconds double"
        ),
        "imports": (
            "wave text, brief text, request_id text, image text, source text, file text, "
            "cost_usd usd"
        ),
        "sweeps": "image text, path text, bytes long, reason text",
        "findings": "wave text, job_id text, kind text, key text, detail text",
        "shares": "wave text, job_id text, worker text, claim int, seconds double",
    }.items()
}

KEYS: dict[str, tuple[str, ...]] = {
    "waves": ("wave", "revision"),
    "briefs": ("wave", "revision", "brief"),
    "prompts": ("wave", "revision", "brief", "prompt_id"),
    "requests": ("wave", "revision", "request_id", "brief"),
    "submissions": ("job_id", "request_id"),
    "jobs": ("job_id", "event", "token"),
    "results": ("request_id", "job_id"),
    "images": ("image",),
    "metrics": ("image",),
    "screens": ("wave", "revision", "request_id", "check_name"),
    "judgements": ("wave", "revision", "request_id", "judge_request_id"),
    "decisions": ("wave", "revision", "brief", "request_id", "tier", "round"),
    "assets": ("wave", "revision", "asset"),
    "variants": ("wave", "revision", "asset", "variant"),
    "steps": ("wave", "revision", "brief", "round"),
    "imports": ("wave", "brief", "request_id"),
    "sweeps": ("image",),
    "renders": ("job_id", "request_id"),
    "findings": ("job_id", "kind", "key", "detail"),
    "shares": ("job_id", "claim"),
}

SQL_TYPES = {
    "text": "VARCHAR",
    "bool": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "double": "DOUBLE",
    "usd": "DECIMAL(18,9)",
    "time": "TIMESTAMP",
}
