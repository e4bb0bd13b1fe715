"""`imagewave sql`, run as its users run it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from tests.storage.builders import WAVE, small_wave

from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

COMMAND = [sys.executable, "-c", "from imagewave.cli import main; main()", "sql"]


def run(*arguments: str, input: str | None = None, cwd: Path | None = None) -> str:
    """What the command prints; it must succeed and complain of nothing."""
    done = attempt(*arguments, input=input, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def attempt(
    *arguments: str, input: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        input=input,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "80"},
        check=False,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a store with one small wave."""
    store = Store.open(str(tmp_path_factory.mktemp("sql") / "store"))
    small_wave(store)
    return store.url


def test_a_table_for_people(store: str) -> None:
    printed = run("select brief, accepted from funnel order by brief", "--store", store)
    assert [line.split("│")[1:-1] for line in printed.splitlines() if "│" in line][2:] == [
        [" harbour ", "        1 "],
        [" tulips  ", "        2 "],
    ]


def test_money_and_times_print_as_they_are(store: str) -> None:
    printed = run("select cost_usd, recorded_at from costs where kind = 'expand'", "--store", store)
    assert " 0.002000000 " in printed
    assert " 20" in printed


def test_one_wide_row_is_read_from_top_to_bottom(store: str) -> None:
    printed = run("from lineage where asset like '%h1.jpg'", "--store", store)
    lines = [[cell.strip() for cell in line.split("│")] for line in printed.splitlines()]
    assert ["", "brief_text", "varchar", "A quiet harbour", ""] in lines
    assert ["", "final_cost_usd", "decimal(18,9)", "0.070000000", ""] in lines


def test_a_pipe_gets_every_row_and_column(store: str) -> None:
    printed = run("select *, repeat('x', 300) as long from costs", "--store", store)
    assert printed.count("x" * 300) == 17


def test_csv(store: str) -> None:
    printed = run("from funnel order by brief", "--store", store, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["brief"], row["accepted"]) for row in rows] == [("harbour", "1"), ("tulips", "2")]


def test_csv_runs_no_formula_in_a_spreadsheet(store: str, tmp_path: Path) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"]
    listed = ", ".join("'" + text.replace("\n", "' || chr(10) || '") + "'" for text in evil)
    query = (
        f"select unnest([{listed}, 'x-1', '', null]) as text, -1.5 as number, -1 as whole,"
        " date '2026-01-01' as day, '=1'::enum('=1') as choice, ['=1'] as many, '-1' as \"=head\""
    )
    for printed in (
        run(query, "--store", store, "--format", "csv"),
        run(query, "-o", str(tmp_path / "a.csv")) or (tmp_path / "a.csv").read_bytes().decode(),
    ):
        heads, *rows = csv.reader(io.StringIO(printed, newline=""))
        assert heads == ["text", "number", "whole", "day", "choice", "many", "'=head"]
        texts = [row[0].replace("\r", "\n") for row in rows]  # as a pipe that is read as text
        assert texts == [f"'{text}".replace("\r", "\n") for text in evil] + ["x-1", "", ""]
        rest = ["-1.5", "-1", "2026-01-01", "'=1", "['=1']", "'-1"]
        assert [row[1:] for row in rows] == [rest] * len(rows)
    as_json = json.loads(run(query, "--store", store, "--format", "json"))
    assert [row["text"] for row in as_json[: len(evil)]] == evil


def test_json(store: str) -> None:
    printed = run("from funnel order by brief", "--store", store, "--format", "json")
    assert [row["brief"] for row in json.loads(printed)] == ["harbour", "tulips"]
    assert json.loads(run("from funnel where false", "--store", store, "--format", "json")) == []


def test_parquet_to_a_file_and_to_a_pipe(store: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.parquet"
    assert run("from costs", "--store", store, "-o", str(file)) == ""
    answer = duckdb.execute(f"select sum(cost_usd)::varchar from '{file}'").fetchall()
    assert answer == [("0.355500000",)]
    piped = subprocess.run(
        [*COMMAND, "from costs", "--store", store, "--format", "parquet"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "piped.parquet").write_bytes(piped.stdout)
    ordered = "select * from '{}' order by all"
    assert duckdb.execute(ordered.format(tmp_path / "piped.parquet")).fetchall() == (
        duckdb.execute(ordered.format(file)).fetchall()
    )


@pytest.mark.parametrize(
    ("name", "start"), [("a.csv", "one\n1"), ("a.json", "["), ("a.txt", "┌"), ("it's.csv", "one")]
)
def test_a_files_name_says_its_format(tmp_path: Path, name: str, start: str) -> None:
    run("select 1 as one", "-o", str(tmp_path / name))
    assert (tmp_path / name).read_text().startswith(start)
    assert os.listdir(tmp_path) == [name]


def test_a_query_from_standard_input(store: str) -> None:
    printed = run("-", "--store", store, "--format", "csv", input="select count(*) n\nfrom assets;")
    assert printed == "n\n3\n"


def test_several_statements_answer_with_the_last(store: str) -> None:
    query = "from funnel; select count(*) as n from assets"
    assert run(query, "--store", store, "--format", "csv") == "n\n3\n"


def test_a_pivot_and_what_explains_a_question_are_questions(store: str) -> None:
    assert "final" in run("pivot costs on kind in ('final') using sum(cost_usd)", "--store", store)
    for query in ("explain from funnel", "explain analyze from funnel", "summarize funnel"):
        assert run(query, "--store", store)


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{file}'",
        "copy (select 1) to '{fact}'",
        "from funnel; copy (select 1) to '{fact}'",
        "explain analyze copy (select 1) to '{fact}'",
        "/* a */ explain analyze copy (select 1) to '{fact}'",
        "export database '{file}'",
        "attach '{file}' as other",
        "create table t as from funnel",
        "drop view funnel",
        "set enable_external_access = true",
        "install httpfs",
        "pragma enable_profiling",
    ],
)
def test_a_statement_that_does_more_than_read_is_refused(
    store: str, tmp_path: Path, query: str
) -> None:
    fact = next((Path(store) / "facts/results").iterdir())
    before = fact.read_bytes()
    done = attempt(query.format(file=tmp_path / "file", fact=fact), "--store", store)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no question: facts are read, never changed" in done.stderr
    assert fact.read_bytes() == before
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "query",
    [
        "from read_text('{file}')",
        "from '{file}'",
        "from read_text('{store}/store.json')",
        "from read_text('{store}/facts/../store.json')",
        "from glob('{folder}/*')",
        "from read_csv_auto(['{file}'])",
        "select * from query('from read_text(''{file}'')')",
    ],
)
def test_no_file_but_the_facts_can_be_read(store: str, tmp_path: Path, query: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("password\n")
    done = attempt(
        query.format(file=file, folder=tmp_path, store=store), "--store", store, "-o", "-"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "password" not in done.stderr


def test_without_a_query_the_views_are_listed(tmp_path: Path) -> None:
    printed = run(cwd=tmp_path)
    for name in ("funnel", "cost_per_accepted", "lineage", "results"):
        assert f"\n{name} " in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert os.listdir(tmp_path) == []


def test_export_is_a_database_of_its_own(store: str, tmp_path: Path) -> None:
    file = tmp_path / "wave.duckdb"
    assert f"tables to {file}" in run("--export", str(file), "--store", store)
    with duckdb.connect(str(file), read_only=True) as connection:
        names = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        assert {"funnel", "lineage", "costs"} <= names
        query = "SELECT wave, sum(final) FROM funnel GROUP BY wave"
        assert connection.execute(query).fetchall() == [(WAVE, 3)]
    assert os.listdir(tmp_path) == ["wave.duckdb"]


def test_export_overwrites_nothing(store: str, tmp_path: Path) -> None:
    file = tmp_path / "wave.duckdb"
    file.write_text("mine")
    done = attempt("--export", str(file), "--store", store)
    assert done.returncode == 1
    assert "wave.duckdb exists. Remove it" in done.stderr
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("from funel", 'Did you mean "funnel"?'),
        ("select breif from funnel", 'Candidate bindings: "brief"'),
        ("select 'x'::integer from funnel", "Could not convert string 'x'"),
    ],
)
def test_a_query_that_fails_is_one_error_with_a_hint(
    store: str, query: str, message: str, tmp_path: Path
) -> None:
    done = attempt(query, "--store", store, "-o", str(tmp_path / "answer.csv"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert "`imagewave sql` lists the views" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_store_that_is_not_there_is_an_error_and_stays_so(tmp_path: Path) -> None:
    done = attempt("from waves", cwd=tmp_path)
    assert done.returncode == 1
    assert "There is no store at" in done.stderr
    assert "--store" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_query_without_facts_needs_no_store(tmp_path: Path) -> None:
    assert run("select 1 as one", "--format", "csv", cwd=tmp_path) == "one\n1\n"
    assert os.listdir(tmp_path) == []


def test_an_answer_that_cannot_be_written_is_an_error(store: str, tmp_path: Path) -> None:
    done = attempt("select 1", "-o", str(tmp_path / "none" / "a.csv"))
    assert done.returncode == 1
    assert "there is no folder" in done.stderr
    long = str(tmp_path / ("a" * 250))
    for arguments in (("select 1", "-o", f"{long}.csv"), ("--export", long, "--store", store)):
        done = attempt(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: {long}")
        assert done.stderr.endswith(": File name too long. Name another file.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("select 1", "--export", "a.duckdb"),
        ("--export", "a.duckdb", "--format", "csv"),
        ("select 1", "--format", "xml"),
    ],
)
def test_wrong_usage_exits_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = attempt(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", ["table", "csv", "json"])
def test_a_reader_that_has_seen_enough_is_no_error(format: str) -> None:
    query = "select range as n from range(200_000)"
    with subprocess.Popen(
        [*COMMAND, query, "--format", format], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_it_imports_nothing_heavy(store: str) -> None:
    script = (
        "import sys\n"
        "from imagewave.cli import main\n"
        "try:\n"
        "    main(['sql', 'from funnel', '--store', sys.argv[1]])\n"
        "except SystemExit:\n"
        "    print(*sys.modules, sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, store], check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {"prefect", "torch", "google", "openai", "pyarrow", "pandas", "numpy", "fsspec", "rich"}
    assert "duckdb" in loaded
    assert loaded & heavy == set()


def test_a_file_name_of_no_known_format_is_refused(store: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.zzz"
    done = attempt("from funnel", "--store", store, "-o", str(file))
    assert done.returncode == 1
    for ending in (".csv", ".json", ".parquet", ".txt", "--format"):
        assert ending in done.stderr
    assert not file.exists()
    run("from funnel", "--store", store, "-o", str(file), "--format", "csv")
    assert file.read_text().startswith("wave,")
    run("from funnel", "--store", store, "-o", str(tmp_path / "answer.txt"))
    assert "wave" in (tmp_path / "answer.txt").read_text()


def test_a_store_whose_path_looks_like_a_pattern_is_asked(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "a [store]? *'s"))
    small_wave(store)
    assert run("select count(*) n from assets", "--store", store.url, "--format", "csv") == "n\n3\n"
