"""The public face for Python, which `imagewave` exports: calls, typed results, contact sheets."""
