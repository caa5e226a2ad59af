"""segexport beside what a user would pick instead: `python benchmarks/run.py`. Not part of the installed package."""
