"""Facts without Parquet and DuckDB, which would take nine tenths of a run's time.

Parts hold the same rows, checked and rounded by the same code, in a form that costs little to read;
the protocol's few queries are answered by Python that says the same. Nothing is believed blindly:
a query that is not known here is answered by DuckDB, and a run that is executed a second time with
real parts and real SQL must do step for step what it did (`exact`).
"""

import functools
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import orjson

from imagewave import clock
from imagewave.storage.facts import analytics, facts, mirror
from imagewave.storage.facts.tables import COLUMNS, KEYS, RECORDED_AT
from imagewave.storage.rounds import refusals
from imagewave.storage.store import Store

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_MARK = b"rows "

_decoded: dict[bytes, list[Row]] = {}
"""Parts of the present run that were read before; nobody changes their rows."""


def encode(table: str, rows: Sequence[Row]) -> bytes:
    """As `facts._encode`, but not as Parquet."""
    kinds = {name: kind for name, kind in COLUMNS[table].items() if name != RECORDED_AT}
    for number, row in enumerate(rows):
        if row.keys() != kinds.keys():
            raise ValueError(f"row {number} of {table} has other columns")
    columns = {name: facts._column(table, name, kind, rows) for name, kind in kinds.items()}
    moment = clock.now().replace(tzinfo=None)
    kept = []
    for number in range(len(rows)):
        row = {name: _plain(values[number]) for name, values in columns.items()}
        row[RECORDED_AT] = moment
        kept.append(row)
    return _MARK + pickle.dumps(kept)


def decode(data: bytes) -> list[Row]:
    """The rows of such a part."""
    if data not in _decoded:
        assert data.startswith(_MARK)
        _decoded[data] = pickle.loads(data[len(_MARK) :])
    return _decoded[data]


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


class _Snapshot:
    """What stands for `analytics.Snapshot`: queries that are known are answered by Python."""

    def __init__(
        self,
        read: Callable[[str], bytes],
        asked_duckdb: Counter[str],
        store: Store,
        sql: str | None = None,
    ) -> None:
        self._read = read
        self._asked_duckdb = asked_duckdb
        self._needed = analytics._needed_by(sql)
        assert analytics._LEDGER not in self._needed, "no simulated wave asks for the ledger"
        files = analytics._live_files(store, analytics._tables(self._needed))
        self._files = {table: [str(path) for path in paths] for table, paths in files.items()}

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        tables = {
            table: [row for file in files for row in decode(self._read(file))]
            for table, files in self._files.items()
        }
        if known := QUERIES.get(_spelled(sql)):
            return known(tables, params)
        self._asked_duckdb[_spelled(sql)] += 1
        return self._ask_duckdb(tables, sql, params)

    def _ask_duckdb(self, tables: Tables, sql: str, params: Sequence[Any]) -> list[Row]:
        with TemporaryDirectory(dir=_fast_folder()) as folder, duckdb.connect() as connection:
            for table, rows in tables.items():
                path = Path(folder) / f"{table}.parquet"
                path.write_bytes(parquet(table, rows))
                source = analytics._raw_rows(table, [path])
                connection.execute(f"CREATE VIEW raw_{table} AS {source}")
            for name, statement in analytics._definitions().items():
                if name in self._needed and statement:
                    connection.execute(statement)
            found = connection.execute(sql, list(params))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def parquet(table: str, rows: Sequence[Row]) -> bytes:
    """The rows as a real part."""
    import pyarrow as pa

    columns = {name: [row[name] for row in rows] for name in COLUMNS[table]}
    return facts.write_parquet(pa.Table.from_pydict(columns, schema=facts.schema(table)))


@functools.cache
def _fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def shortcut(read: Callable[[str], bytes]) -> Iterator[Counter[str]]:
    """Has facts written and asked without Parquet and DuckDB for the time of the block.

    `read` gives a part's bytes without being a scheduling point: parts never change. Yields the
    queries that DuckDB is asked all the same, counted.
    """
    counts: Counter[str] = Counter()
    _decoded.clear()

    def read_part(store: Store, table: str, part: str) -> list[Row]:
        return decode(store.read(f"facts/{table}/{part}.parquet"))

    def rows_of(table: str, rows: list[Row]) -> list[Row]:
        return [dict(row) for row in rows]

    with patched(
        (facts, "_encode", encode),
        (facts, "read_part", read_part),
        (facts, "_rows", rows_of),
        (analytics, "Snapshot", functools.partial(_Snapshot, read, counts)),
        (mirror, "local_files", lambda store, paths: list(paths)),
    ):
        yield counts


@contextmanager
def exact(read: Callable[[str], bytes]) -> Iterator[Counter[str]]:
    """Has facts be Parquet and queries be DuckDB's, over parts that lie on this machine's disk."""
    with TemporaryDirectory(dir=_fast_folder()) as folder:

        def local_files(store: Store, paths: Sequence[str]) -> list[Path]:
            found = []
            for path in paths:
                file = Path(folder) / path
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(read(path))
                found.append(file)
            return found

        with patched((mirror, "local_files", local_files)):
            yield Counter()


@contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Puts something else in the place of attributes (owner, name, value) for the block."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


# The queries of the protocol, by their spelling.


def _spelled(sql: str) -> str:
    return " ".join(sql.split())


def _swept(tables: Tables) -> dict[str, datetime]:
    latest: dict[str, datetime] = {}
    for row in tables.get("sweeps", ()):
        latest[row["image"]] = max(row[RECORDED_AT], latest.get(row["image"], row[RECORDED_AT]))
    return latest


def _kept(row: Row, swept: dict[str, datetime]) -> bool:
    return row["image"] not in swept or swept[row["image"]] <= row[RECORDED_AT]


def _every(table: str, rows: Sequence[Row]) -> list[Row]:
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS[table])
        if key not in first or row[RECORDED_AT] < first[key][RECORDED_AT]:
            first[key] = row
    return list(first.values())


def _answered(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted, swept = set(params[0]), _swept(tables)
    found = dict.fromkeys(
        row["request_id"]
        for row in tables["results"]
        if row["status"] in ("image", "text") and row["request_id"] in wanted and _kept(row, swept)
    )
    return [{"request_id": id} for id in found]


def _refusing_models(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted = set(params[0])
    found = dict.fromkeys(row["model"] for row in tables["results"] if row["status"] == "refused")
    return [{"model": model} for model in found if model in wanted]


def _refused(tables: Tables, params: Sequence[Any]) -> list[Row]:
    results: dict[str, list[Row]] = {}
    for row in tables["results"]:
        results.setdefault(row["request_id"], []).append(row)
    words: dict[tuple[Any, ...], list[Row]] = {}
    for id, request in {row["request_id"]: row["request"] for row in tables["requests"]}.items():
        said = orjson.loads(request)
        shown = orjson.dumps(said["references"]).decode()
        key = (said["model"], said["prompt"], said["system"], shown)
        words.setdefault(key, []).extend(results.get(id, ()))
    found = []
    for id, *asked in zip(*params, strict=True):
        for rows in (results.get(id, []), words.get(tuple(asked), [])):
            refusals = [row for row in rows if row["status"] == "refused"]
            if refusals and not any(row["status"] in ("image", "text") for row in rows):
                first = min(refusals, key=lambda row: row[RECORDED_AT])
                mine = rows is results.get(id)
                if mine:
                    first = max(refusals, key=lambda row: row[RECORDED_AT])
                found.append(
                    {
                        "id": id,
                        "first": id if mine else first["request_id"],
                        "reason": first["reason"],
                    }
                )
                break
    return found


def _sharing(tables: Tables, params: Sequence[Any]) -> list[Row]:
    others, job_id = set(params[0]), params[1]
    rows = tables["submissions"]
    asked = {row["request_id"] for row in rows if row["job_id"] == job_id}
    found = dict.fromkeys(
        row["job_id"] for row in rows if row["job_id"] in others and row["request_id"] in asked
    )
    return [{"job_id": id} for id in found]


_ANSWER = (
    "request_id", "job_id", "status", "failure", "reason", "image", "format", "text", "cost_usd",
)  # fmt: skip


def _first_results(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted = set(params[0])
    return [
        {name: row[name] for name in _ANSWER}
        for row in _every("results", tables["results"])
        if row["request_id"] in wanted and row["attempt"] > 0
    ]


def _attempts_of(tables: Tables) -> list[Row]:
    """The view `attempts`."""
    best: dict[tuple[str, str], Row] = {}
    for row in tables["results"]:
        key = row["request_id"], row["job_id"]
        if key not in best or _lateness(row) < _lateness(best[key]):
            best[key] = row
    return list(best.values())


def _lateness(row: Row) -> tuple[bool, datetime]:
    return row["status"] == "missing", row[RECORDED_AT]


def _attempts(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted = set(params[0])
    return [
        {name: row[name] for name in _ANSWER}
        for row in _attempts_of(tables)
        if row["request_id"] in wanted
    ]


def _losers(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted, reasons = set(params[0]), set(params[1])
    found = {
        row["job_id"]
        for row in _attempts_of(tables)
        if row["request_id"] in wanted and row["reason"] in reasons
    }
    return [{"job_id": job_id} for job_id in sorted(found)]


def _results(tables: Tables, params: Sequence[Any]) -> list[Row]:
    wanted, swept = set(params[0]), _swept(tables)
    best: dict[str, tuple[tuple[Any, ...], Row]] = {}
    for row in tables["results"]:
        id = row["request_id"]
        if id not in wanted:
            continue
        rank = (
            row["status"] not in ("image", "text"),
            -row[RECORDED_AT].timestamp(),
            -row["attempt"],
            row["job_id"],
        )
        if id not in best or rank < best[id][0]:
            best[id] = rank, row
    return [{name: row[name] for name in _ANSWER} for _, row in best.values() if _kept(row, swept)]


def _revision(tables: Tables, params: Sequence[Any]) -> list[Row]:
    return [
        {"revision": row["revision"]} for row in _revisions(tables, ()) if row["wave"] == params[0]
    ]


def _revisions(tables: Tables, params: Sequence[Any]) -> list[Row]:
    latest: dict[str, Row] = {}
    for row in tables["waves"]:
        before = latest.get(row["wave"])
        if before is None or row[RECORDED_AT] > before[RECORDED_AT]:
            latest[row["wave"]] = row
    return [{"wave": wave, "revision": row["revision"]} for wave, row in latest.items()]


def _jobs(tables: Tables) -> list[Row]:
    """The view `jobs`, as far as the protocol asks for it."""
    order = {"claimed": 0, "accepted": 2}
    by_job: dict[str, list[Row]] = {}
    for row in _every("jobs", tables["jobs"]):
        by_job.setdefault(row["job_id"], []).append(row)
    found = []
    for job_id, rows in by_job.items():
        rows.sort(key=lambda r: (r["event"] == "settled", r[RECORDED_AT], order.get(r["event"], 1)))
        claimed = [row[RECORDED_AT] for row in rows if row["event"] == "claimed"]
        named = [row["provider_job"] for row in rows if row["provider_job"]]
        found.append(
            {
                **{name: rows[0][name] for name in ("wave", "revision", "lane")},
                "job_id": job_id,
                "event": rows[-1]["event"],
                "provider_job": named[-1] if named else None,
                "claimed_at": min(claimed) if claimed else None,
            }
        )
    return found


def _open_jobs(tables: Tables, params: Sequence[Any]) -> list[Row]:
    names = ("job_id", "wave", "lane", "event", "provider_job")
    return [
        {name: row[name] for name in names}
        | {"overdue": row["claimed_at"] < params[0] if row["claimed_at"] else None}
        for row in sorted(_jobs(tables), key=itemgetter("job_id"))
        if row["event"] in ("claimed", "accepted")
    ]


def _lanes(tables: Tables, params: Sequence[Any]) -> list[Row]:
    found = dict.fromkeys(row["lane"] for row in _jobs(tables) if row["wave"] == params[0])
    return [{"lane": lane} for lane in found]


def _all_lanes(tables: Tables, params: Sequence[Any]) -> list[Row]:
    return [{"lane": lane} for lane in sorted({row["lane"] for row in _jobs(tables)})]


def _our_jobs(tables: Tables, params: Sequence[Any]) -> list[Row]:
    lane, wave = params
    current = {row["wave"]: row["revision"] for row in _revisions(tables, ())}
    return [
        {"job_id": row["job_id"], "provider_job": row["provider_job"] or ""}
        for row in _jobs(tables)
        if row["lane"] == lane
        and wave in (None, row["wave"])
        and row["wave"] in current
        and (
            row["provider_job"]
            or row["event"] == "settled"
            or (row["event"] == "released" and row["revision"] != current[row["wave"]])
        )
    ]


def _settled_jobs(tables: Tables, params: Sequence[Any]) -> list[Row]:
    return [
        {"job_id": row["job_id"], "wave": row["wave"]}
        for row in _jobs(tables)
        if row["event"] == "settled"
    ]


def _unsent_jobs(tables: Tables, params: Sequence[Any]) -> list[Row]:
    sent = {row["job_id"] for row in _jobs(tables) if row["event"] != "released"}
    found = {row["job_id"] for row in tables["submissions"]} - sent
    return [{"job_id": id} for id in sorted(found)]


_SELECT = f"SELECT {', '.join(_ANSWER)} FROM"
_WANTED = "WHERE request_id IN (SELECT unnest(?::VARCHAR[]))"

QUERIES: dict[str, Callable[[Tables, Sequence[Any]], list[Row]]] = {
    _spelled(sql): answer
    for sql, answer in {
        "SELECT DISTINCT request_id FROM raw_results AS results"
        " WHERE status IN ('image', 'text') AND request_id IN (SELECT unnest(?::VARCHAR[]))"
        f" AND {analytics.KEPT}": _answered,
        "SELECT DISTINCT job_id FROM raw_submissions WHERE job_id IN (SELECT unnest(?::VARCHAR[]))"
        " AND request_id IN (SELECT request_id FROM raw_submissions WHERE job_id = ?)": _sharing,
        refusals.REFUSING_MODELS: _refusing_models,
        refusals.REFUSED: _refused,
        f"{_SELECT} attempts {_WANTED}": _attempts,
        f"{_SELECT} every_results {_WANTED}": _first_results,
        "SELECT DISTINCT job_id FROM attempts WHERE request_id IN (SELECT unnest(?::VARCHAR[]))"
        " AND reason IN (SELECT unnest(?::VARCHAR[])) ORDER BY job_id": _losers,
        "SELECT DISTINCT lane FROM jobs WHERE wave = ?": _lanes,
        "SELECT DISTINCT lane FROM jobs ORDER BY lane": _all_lanes,
        "SELECT job_id, coalesce(provider_job, '') AS provider_job FROM jobs"
        " JOIN waves USING (wave) WHERE lane = ? AND coalesce(wave = ?, true)"
        " AND (provider_job IS NOT NULL OR event = 'settled'"
        " OR (event = 'released' AND jobs.revision <> waves.revision))": _our_jobs,
        f"{_SELECT} results {_WANTED} AND {analytics.KEPT}": _results,
        "SELECT revision FROM waves WHERE wave = ?": _revision,
        "SELECT wave, revision FROM waves": _revisions,
        "SELECT job_id, wave, lane, event, provider_job, claimed_at < ? AS overdue"
        " FROM jobs WHERE event IN ('claimed', 'accepted') ORDER BY job_id": _open_jobs,
        "SELECT job_id, wave FROM jobs WHERE event = 'settled'": _settled_jobs,
        "SELECT DISTINCT job_id FROM raw_submissions WHERE job_id NOT IN"
        " (SELECT job_id FROM jobs WHERE event <> 'released') ORDER BY job_id": _unsent_jobs,
    }.items()
}
