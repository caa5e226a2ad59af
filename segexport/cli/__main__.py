"""`python -m segexport.cli`."""

from segexport.cli import main

if __name__ == "__main__":
    main()
