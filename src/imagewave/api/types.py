"""What the calls take and return of the layers below."""

from imagewave.flows.progress import Progress
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.planning.plan import Plan
from imagewave.tasks.reporting.standing import Status

__all__ = ["Plan", "Progress", "Status", "Wave"]
