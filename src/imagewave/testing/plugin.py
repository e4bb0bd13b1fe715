"""What pytest loads where imagewave is installed: failed assertions of the contract show values."""

import pytest

pytest.register_assert_rewrite("imagewave.testing.bench", "imagewave.testing.contract")
