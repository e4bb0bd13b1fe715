"""What only Prefect needs: the flow that a server runs, and its tasks."""
