"""The one part that is compiled; everything else about the package stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "imagewave.tasks.screening._unfilter",
            sources=["src/imagewave/tasks/screening/_unfilter.c"],
            # One build for every Python from 3.11 on.
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            # Without a C compiler the package installs all the same, and other decoders read PNG.
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
