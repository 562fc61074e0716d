"""The one thing that setup.cfg can't say: an optional C library; where there is no compiler, installing goes without.

python setup.py build_ext --inplace     build it beside its source
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class BuildLibrary(build_ext):
    """Without Python in it: it needs no headers, has one name everywhere, and is no module that could be imported."""

    def get_ext_filename(self, fullname: str) -> str:
        *packages, name = fullname.split(".")
        return str(Path(*packages, f"{name}.native.so"))


setup(
    cmdclass={"build_ext": BuildLibrary},
    ext_modules=[
        Extension(
            "preprocess.pixels.resize",
            ["preprocess/pixels/resize.c", "preprocess/pixels/unfilter.c"],
            depends=["preprocess/pixels/loops.h", "preprocess/pixels/blocks.h"],
            # Fused multiplications and additions would round some weights otherwise than Pillow does.
            extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"],
            libraries=["m"],
            optional=True,
        )
    ],
)
