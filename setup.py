"""The compiled part, which pyproject.toml cannot describe yet. Everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "segexport.native._class_map",
            ["segexport/native/module.cpp"],
            include_dirs=["runtime/include"],
            depends=["runtime/include/segexport/class_map.hpp"],
            # No contraction: the same bits whether or not a CPU multiplies and adds in one step.
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-fvisibility=hidden"],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,  # without a compiler the class map is computed by the engine's own operators
        )
    ]
)
