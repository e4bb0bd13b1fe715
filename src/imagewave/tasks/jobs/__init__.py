"""Brings provider jobs to their end: sends them, watches them, gathers what they gave.

Nothing here knows Prefect: what it would do comes in as `Hands`, and all time is `imagewave.clock`.
"""
