"""The parts that are compiled; everything else about the package stands in pyproject.toml."""

import os

from setuptools import Extension, setup


def extension(name: str) -> Extension:
    """A module in C that the package can do without, more slowly."""
    return Extension(
        name,
        sources=[f"src/{name.replace('.', '/')}.c"],
        # One build for every Python from 3.11 on.
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        libraries=["m"] if os.name == "posix" else [],
        # Without a C compiler the package installs all the same.
        optional=True,
    )


setup(
    ext_modules=[
        extension("imagewave.tasks.screening._hamming"),
        extension("imagewave.pictures._pixels"),
        extension("imagewave.pictures._unfilter"),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
