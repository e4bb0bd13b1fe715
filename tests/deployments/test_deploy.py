"""What `imagewave deploy` leaves on a server."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.deployments.site import Site
from tests.servers import free_port

# Generous: each run is a new process, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)


def deployed(site: Site) -> dict[str, Any]:
    """Everything there is, by kind and name, with ids."""
    lists: dict[str, Callable[[], Any]] = {
        "deployments": lambda: site.call("POST", "deployments/filter", {}),
        "work_pools": lambda: site.call("POST", "work_pools/filter", {}),
        "automations": lambda: site.call("POST", "automations/filter", {}),
    }
    return {kind: {item["name"]: item["id"] for item in read()} for kind, read in lists.items()}


def test_one_command_makes_it_all_and_repeating_it_changes_nothing(site: Site) -> None:
    path, store = site.wave("scheduled")
    arguments = (
        *("deploy", str(path), "--store", store.url),
        *("--cron", "0 6 * * 1", "--helpers", "3"),
    )
    site.imagewave(*arguments, "--timezone", "Europe/Berlin")
    first = deployed(site)
    expected = {"wave", "share", "watch", "upkeep", "render", "scheduled"}
    assert first["deployments"].keys() >= expected
    assert first["work_pools"].keys() == {"default", "gpu"}
    assert first["automations"].keys() == {
        "imagewave: zombies",
        "imagewave: failures",
        "imagewave: budget stops",
    }

    site.imagewave(*arguments, "--timezone", "Europe/Berlin")
    assert deployed(site) == first

    own = site.call("GET", "deployments/name/wave/scheduled")
    (schedule,) = own["schedules"]
    assert schedule["schedule"]["cron"] == "0 6 * * 1"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    assert own["global_concurrency_limit"]["limit"] == 1
    assert own["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert own["parameters"] == {
        "wave_file": str(path),
        "store": store.url,
        "wait": False,
        "helpers": 3,
    }
    assert site.call("GET", "deployments/name/wave/wave")["parameters"]["helpers"] == 3
    site.pause_schedules()


def test_without_a_server_it_says_how_to_get_one(site: Site) -> None:
    done = site.imagewave("deploy", check=False, PREFECT_API_URL="")
    assert done.returncode == 1
    assert "PREFECT_API_URL is not set" in done.stderr
    assert "prefect server start" in done.stderr


def test_a_server_that_is_away_is_named(site: Site) -> None:
    api = f"http://127.0.0.1:{free_port()}/api"
    done = site.imagewave("deploy", check=False, PREFECT_API_URL=api)
    assert done.returncode == 1
    assert f"The Prefect server at {api} does not answer" in done.stderr


def test_a_notification_block_that_is_none_is_named(site: Site) -> None:
    done = site.imagewave("deploy", "--notify", "slack-webhook/nobody", check=False)
    assert done.returncode == 1
    assert "no notification block 'slack-webhook/nobody'" in done.stderr


def test_a_schedule_needs_a_wave(site: Site) -> None:
    assert site.imagewave("deploy", "--cron", "0 6 * * 1", check=False).returncode == 2
