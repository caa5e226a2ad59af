"""The compiled part, which pyproject.toml cannot describe yet. Everything else is in pyproject.toml."""

from setuptools import Extension, find_packages, setup

# What the extension includes, directly or not.
HEADERS = ("class_map", "class_map_cuda", "confidence", "confidence_cuda", "errors", "image", "upsampling", "workers")

setup(
    # The headers go along as package data: NVRTC compiles one of them on the user's machine.
    packages=[*find_packages(include=["segexport*"]), "segexport.include.segexport"],
    package_dir={"segexport.include.segexport": "runtime/include/segexport"},
    ext_modules=[
        Extension(
            "segexport.native._class_map",
            ["segexport/native/module.cpp"],
            include_dirs=["runtime/include"],
            depends=[f"runtime/include/segexport/{name}.hpp" for name in HEADERS],
            # No contraction: the same bits whether or not a CPU multiplies and adds in one step.
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-fvisibility=hidden"],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,  # without a compiler the class map is computed by the engine's own operators
        )
    ],
)
