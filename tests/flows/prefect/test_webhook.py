"""What the webhook server lets in."""

import base64
from datetime import UTC, datetime, timedelta
from typing import cast

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from imagewave.flows.prefect.watch import watch
from imagewave.flows.prefect.webhook import MAX_BYTES, BadSecret, NoWatch, app, require_watch

pytestmark = pytest.mark.heavy

# The same in each process: it is part of the names of tests.
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
BODY = '{"type": "batch.succeeded", "data": {"id": "batches/abc"}}'


def headers(
    body: str = BODY, *, secret: str = SECRET, sent: datetime | None = None
) -> dict[str, str]:
    """The headers of a signed webhook."""
    sent = sent or datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", sent, body),
    }


class Calls(list[str]):
    """Takes the place of starting `watch`."""

    def __call__(self, webhook_id: str) -> None:
        self.append(webhook_id)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def client(calls: Calls) -> TestClient:
    return TestClient(app(SECRET, calls))


def test_a_signed_webhook_starts_a_look(client: TestClient, calls: Calls) -> None:
    assert client.post("/webhook", content=BODY, headers=headers()).status_code == 200
    assert calls == ["msg_1"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        headers(secret="whsec_" + base64.b64encode(b"another secret, well").decode()),
        headers(BODY + " "),
        # Made when tests are gathered, long before they run.
        headers(sent=datetime.now(UTC) - timedelta(minutes=6)),
        headers(sent=datetime.now(UTC) + timedelta(days=1)),
        headers() | {"webhook-signature": "v1"},
        headers() | {"webhook-signature": "v1,no base64!"},
        headers() | {"webhook-timestamp": "yesterday"},
    ],
    ids=[
        "unsigned",
        "other secret",
        "changed",
        "old",
        "future",
        "no value",
        "no base64",
        "no time",
    ],
)
def test_anything_else_is_refused(client: TestClient, calls: Calls, bad: dict[str, str]) -> None:
    assert client.post("/webhook", content=BODY, headers=bad).status_code == 401
    assert calls == []


def test_bytes_that_are_no_text_are_refused(client: TestClient) -> None:
    assert client.post("/webhook", content=b"\xff", headers=headers()).status_code == 401


def test_a_flood_is_cut_off(client: TestClient, calls: Calls) -> None:
    body = "x" * (MAX_BYTES + 1)
    assert client.post("/webhook", content=body, headers=headers(body)).status_code == 413
    assert calls == []


def test_the_provider_is_told_to_try_again_when_prefect_is_away() -> None:
    def away(webhook_id: str) -> None:
        raise httpx.ConnectError("refused")

    answer = TestClient(app(SECRET, away)).post("/webhook", content=BODY, headers=headers())
    assert answer.status_code == 503


def test_without_anything_to_start_no_webhook_is_served(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        cast(RunnerDeployment, watch.to_deployment(name="watch")).apply()
        require_watch()
        client.delete_deployment(client.read_deployment_by_name("watch/watch").id)
    with pytest.raises(NoWatch, match="imagewave deploy"):
        require_watch()


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("whsec_", "is empty"),
        (" \n", "is empty"),
        ("whsec_ä", "is not base64"),
        ("whsec_****************************", "is not base64"),
        (f"whsec_{SECRET}", "is not base64"),
        (SECRET[:20] + " " + SECRET[20:], "is not base64"),
        (f"'{SECRET}'", "is not base64"),
        ("whsk_" + SECRET.removeprefix("whsec_"), "is not base64"),
        (SECRET[:18], "is cut short"),
        (SECRET[:19], "is not base64"),
    ],
)
def test_a_secret_that_is_none_is_refused_at_the_start(
    calls: Calls, secret: str, fault: str
) -> None:
    with pytest.raises(BadSecret, match=fault) as refused:
        app(secret, calls)
    assert "Copy it whole" in str(refused.value)
    assert SECRET[8:] not in str(refused.value), "errors end up in logs"


@pytest.mark.parametrize(
    "secret",
    [f"{SECRET}\n", f"  {SECRET} ", SECRET.removeprefix("whsec_"), SECRET.rstrip("=")],
    ids=["newline", "spaces", "no prefix", "no padding"],
)
def test_a_secret_may_be_copied_with_spaces_or_without_its_ornaments(
    calls: Calls, secret: str
) -> None:
    client = TestClient(app(secret, calls))
    assert client.post("/webhook", content=BODY, headers=headers()).status_code == 200
