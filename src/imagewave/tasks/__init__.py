"""One module per verb; plain functions, no Prefect."""
