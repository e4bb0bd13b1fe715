"""Facts: what happened, as rows in Parquet, and SQL that asks about them."""
