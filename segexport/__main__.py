"""`python -m segexport`: the command line, as torchrun and `accelerate launch` start it."""

from segexport.cli import main

if __name__ == "__main__":
    main()
