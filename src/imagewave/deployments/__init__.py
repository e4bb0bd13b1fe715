"""What `imagewave deploy` puts on a Prefect server, as Prefect's own files."""
